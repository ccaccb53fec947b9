//! From what a user calls a model or an SAE to its files.

use std::path::Path;

use anyhow::{Context, Result, bail};
use sae_core::io::Folder;
use sae_registry::{Catalogue, model_files, sae_files};

use crate::{embedded, progress};

const DEMO: &str = "demo";
const REVISION: &str = "main";
/// What the hub is used for here.
const FETCHING: &str = "fetching";

/// Names a `pretrained_saes.yaml` of SAELens that is read instead of the catalogue that is built in.
const CATALOGUE: &str = "SAE_CATALOGUE";

/// The catalogue of published SAEs: of that file, of the file that SAE_CATALOGUE names, or built in.
pub(crate) fn catalogue(file: Option<&Path>) -> Result<Catalogue> {
    let named = std::env::var_os(CATALOGUE).filter(|value| !value.is_empty());
    Ok(match (file, named) {
        (Some(path), _) => Catalogue::read(path)?,
        (None, Some(path)) => Catalogue::read(Path::new(&path))?,
        (None, None) => Catalogue::embedded()?,
    })
}

/// The folder of a model.
pub(crate) fn model(name: &str) -> Result<Folder> {
    if name == DEMO {
        return Ok(embedded::MODEL);
    }
    if let Some(folder) = on_disk(name, "config.json")? {
        return Ok(folder);
    }
    if name.split('/').count() > 2 {
        bail!("`{name}` is neither a folder nor a hub id (`owner/model`)");
    }
    let files = model_files(&progress::hub(FETCHING), name, REVISION)
        .with_context(|| format!("model `{name}` is not a folder here; as a hub id"))?;
    Ok(Folder::disk(files.dir))
}

/// The folder of an SAE.
pub(crate) fn sae(name: &str) -> Result<Folder> {
    if name == DEMO {
        return Ok(embedded::SAE);
    }
    if let Some(folder) = on_disk(name, sae_core::sae_lens::CFG_FILE)? {
        return Ok(folder);
    }
    let mut parts = name.splitn(3, '/');
    let (Some(owner), Some(repo)) = (parts.next(), parts.next()) else {
        bail!("`{name}` is neither a folder nor a hub id (`owner/repository/path`)");
    };
    let (repo, path) = (format!("{owner}/{repo}"), parts.next().unwrap_or_default());
    let files = sae_files(&progress::hub(FETCHING), &repo, path, REVISION)
        .with_context(|| format!("SAE `{name}` is not a folder here; as a hub id"))?;
    Ok(Folder::disk(files.dir))
}

/// The folder, if there is one of that name; it must hold `file`.
fn on_disk(name: &str, file: &str) -> Result<Option<Folder>> {
    let path = Path::new(name);
    if !path.is_dir() {
        return Ok(None);
    }
    let folder = Folder::disk(path);
    if !folder.has(file) {
        bail!("{name}: the folder has no {file}");
    }
    Ok(Some(folder))
}
