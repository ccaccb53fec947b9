//! `sae list`: the releases of published SAEs, or the SAEs that filters leave.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sae_registry::{Published, Query, Release};
use serde_json::{Value, json};

use crate::{named, show};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Of this model, as SAELens names it; the owner (`google/`) may be left out.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Of releases with this in their names.
    #[arg(long)]
    pub(crate) release: Option<String>,
    /// At hooks with this in their names, such as `hook_resid_post`.
    #[arg(long)]
    pub(crate) hook: Option<String>,
    /// In this layer.
    #[arg(long)]
    pub(crate) layer: Option<u16>,
    /// With so many latents, such as 16384 or 16k.
    #[arg(long, value_parser = width)]
    pub(crate) width: Option<u64>,
    /// With at least so many active latents per token.
    #[arg(long)]
    pub(crate) min_l0: Option<f64>,
    /// With at most so many active latents per token.
    #[arg(long)]
    pub(crate) max_l0: Option<f64>,
    /// On Neuronpedia under names that begin so, such as `gpt2-small/7-res-jb`.
    #[arg(long)]
    pub(crate) neuronpedia: Option<String>,
    /// SAEs instead of releases, whatever the filters.
    #[arg(long)]
    pub(crate) saes: bool,
    /// Read this `pretrained_saes.yaml` of SAELens instead of the catalogue that is built in; the
    /// variable SAE_CATALOGUE does so for every command.
    #[arg(long)]
    pub(crate) catalogue: Option<PathBuf>,
}

/// `16384`, or `16k` for 16 x 1024, as releases are named; 65k, 131k, 262k and 524k are powers of two.
fn width(text: &str) -> Result<u64, String> {
    sae_registry::width(text)
        .ok_or_else(|| format!("`{text}`: a number of latents is written as 16384, 16k or 1m"))
}

impl ListArgs {
    fn query(&self) -> Query {
        let l0 = (self.min_l0, self.max_l0);
        let mut query = Query::all();
        query.model.clone_from(&self.model);
        query.release.clone_from(&self.release);
        query.hook.clone_from(&self.hook);
        query.layer = self.layer;
        query.width = self.width;
        query.neuronpedia_id.clone_from(&self.neuronpedia);
        query.l0 =
            (l0 != (None, None)).then(|| (l0.0.unwrap_or(0.0), l0.1.unwrap_or(f64::INFINITY)));
        query
    }
}

pub(crate) fn list(args: &ListArgs, as_json: bool) -> Result<()> {
    let catalogue = named::catalogue(args.catalogue.as_deref())?;
    let query = args.query();
    if query.is_about_releases() && !args.saes {
        let found: Vec<&Release> = catalogue.releases().iter().filter(|r| query.wants(r)).collect();
        if as_json {
            return show::json(&found.iter().map(|r| release_json(r)).collect::<Vec<_>>());
        }
        let mut table = show::table(&["release", "model", "repo_id", "conversion_func", "SAEs"]);
        for r in &found {
            let conversion = r.conversion.as_deref().unwrap_or("-").to_owned();
            let (name, model, repo) = (r.name.clone(), r.model.clone(), r.repo_id.clone());
            table.add_row([name, model, repo, conversion, r.n_saes.to_string()]);
        }
        let saes: usize = found.iter().map(|release| release.n_saes).sum();
        show::line(table)?;
        return Ok(show::line(format!("{} releases, {saes} SAEs", found.len()))?);
    }
    let found = catalogue.search(&query)?;
    if as_json {
        return show::json(&found.iter().map(sae_json).collect::<Vec<_>>());
    }
    let mut table = show::table(&["release", "id", "hook", "d_sae", "l0", "neuronpedia"]);
    for sae in &found {
        table.add_row([
            sae.release.name.clone(),
            sae.entry.id.clone(),
            show::maybe(sae.hook()),
            show::maybe(sae.width()),
            show::maybe(sae.entry.l0),
            show::maybe(sae.entry.neuronpedia_id.as_ref()),
        ]);
    }
    show::line(table)?;
    Ok(show::line(format!("{} SAEs", found.len()))?)
}

fn release_json(release: &Release) -> Value {
    json!({
        "release": release.name,
        "model": release.model,
        "repo_id": release.repo_id,
        "conversion_func": release.conversion,
        "n_saes": release.n_saes,
    })
}

/// An SAE with what names tell about it.
pub(super) fn sae_json(sae: &Published<'_>) -> Value {
    let (processing, reason) = sae.processing();
    json!({
        "release": sae.release.name,
        "id": sae.entry.id,
        "model": sae.release.model,
        "repo_id": sae.release.repo_id,
        "path": sae.entry.path,
        "conversion_func": sae.release.conversion,
        "hook_name": sae.hook().map(|hook| hook.to_string()),
        "hook_name_out": sae.hook_out().map(|hook| hook.to_string()),
        "d_sae": sae.width(),
        "l0": sae.entry.l0,
        "variance_explained": sae.entry.variance_explained,
        "neuronpedia_id": sae.entry.neuronpedia_id,
        "norm_scaling_factor": sae.entry.norm_scaling_factor,
        "config_overrides": sae.release.overrides,
        "model_processing": processing,
        "model_processing_reason": reason,
    })
}
