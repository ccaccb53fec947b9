//! `sae-load`: a folder that stands for a repository, loaded by a converter.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use candle_core::DType;
use sae_core::hook::SaeSite;
use sae_core::sae::Probe;
use sae_registry::format::At;
use sae_registry::{Converter, Fetch, FetchError, Options, RemoteFile, load, spec};
use serde_json::{Map, Value};

use super::sae_cfg;
use crate::case::{Case, Outputs};

/// Load as the case says; cases without a folder ask for the configuration only.
pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let text = |name: &str| {
        let value = case.param(name).and_then(Value::as_str);
        value.with_context(|| format!("no param `{name}`"))
    };
    let converter: Converter = text("converter")?.parse()?;
    let (repo_id, path) = (text("repo_id")?, text("folder")?);
    let overrides = match case.param("cfg_overrides") {
        None => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        Some(other) => return Err(anyhow!("`cfg_overrides` is {other}")),
    };
    let mut out = Outputs::default();
    if case.flag("config_only") {
        let nowhere = Folder(Path::new(""));
        let at = At::new(&nowhere, repo_id, path, RemoteFile::MAIN);
        let spec = spec(&at, &converter, &overrides)?;
        out.put_json("cfg", sae_cfg::expected_keys(case, &sae_cfg::of(&spec)));
        return Ok(out);
    }
    let (_, folder) = case.saes()?.into_iter().next().context("the case names no SAE")?;
    let options = Options {
        norm_scaling_factor: case.param("norm_scaling_factor").and_then(Value::as_f64),
        ..Options::default()
    };
    let root = folder.path("");
    let loaded = load(&Folder(&root), repo_id, path, &converter, &overrides, &options)?;
    let sae = loaded.sae.as_ref();
    out.put_json("cfg", sae_cfg::expected_keys(case, &sae_cfg::of(sae.spec())));
    for (name, tensor) in sae.tensors() {
        out.put(name, tensor);
    }
    if let Some(log_sparsity) = loaded.log_sparsity {
        out.put("log_sparsity", log_sparsity);
    }
    let mut probe = Pre(None);
    let x = case.input("x")?.to_dtype(DType::F32)?;
    let (acts, frame) = sae.encode_with(&x, &mut probe)?;
    out.put("output", sae.decode(&acts, &frame)?);
    out.put("acts_post", acts);
    if let Some(pre) = probe.0 {
        out.put("acts_pre", pre);
    }
    Ok(out)
}

/// Keeps the pre-activations.
struct Pre(Option<candle_core::Tensor>);

impl Probe for Pre {
    fn at(
        &mut self,
        site: SaeSite,
        value: candle_core::Tensor,
    ) -> sae_core::Result<candle_core::Tensor> {
        if site == SaeSite::ActsPre {
            self.0 = Some(value.clone());
        }
        Ok(value)
    }
}

/// One folder, whatever repository is asked for.
struct Folder<'a>(&'a Path);

impl Fetch for Folder<'_> {
    fn get(&self, file: &RemoteFile) -> Result<std::path::PathBuf, FetchError> {
        file.check()?;
        let path = self.0.join(&file.path);
        if path.is_file() {
            return Ok(path);
        }
        let (repo_id, url) = (file.repo_id.clone(), path.display().to_string());
        Err(FetchError::NotFound { repo_id, path: file.path.clone(), url })
    }

    fn exists(&self, file: &RemoteFile) -> Result<bool, FetchError> {
        Ok(self.0.join(&file.path).is_file())
    }
}
