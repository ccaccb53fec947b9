//! `sae show`: a release of SAEs, or one of them, as the catalogue describes it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sae_registry::{Published, Release};
use serde_json::{Map, Value, json};

use super::list::sae_json;
use super::train::fields;
use crate::{named, show};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The release; with `:ID`, one SAE of it.
    pub(crate) release: String,
    /// One SAE of it.
    pub(crate) id: Option<String>,
    /// Read this `pretrained_saes.yaml` of SAELens instead of the catalogue that is built in.
    #[arg(long)]
    pub(crate) catalogue: Option<PathBuf>,
}

pub(crate) fn show(args: &ShowArgs, as_json: bool) -> Result<()> {
    let catalogue = named::catalogue(args.catalogue.as_deref())?;
    let (name, id) = match (&args.id, args.release.split_once(':')) {
        (Some(id), _) => (args.release.as_str(), Some(id.as_str())),
        (None, Some((release, id))) => (release, Some(id)),
        (None, None) => (args.release.as_str(), None),
    };
    if let Some(id) = id {
        let mut facts = sae_json(&catalogue.find(name, id)?);
        if as_json {
            return show::json(&facts);
        }
        if let Some(facts) = facts.as_object_mut() {
            readable(facts);
        }
        return Ok(show::line(fields(&facts))?);
    }
    let release = catalogue.release(name)?;
    if as_json { show::json(&lookup(release)?) } else { tables(release) }
}

/// Only what is known, and the processing in words.
fn readable(facts: &mut Map<String, Value>) {
    let processing = facts.remove("model_processing").unwrap_or_default();
    let reason = facts.remove("model_processing_reason").unwrap_or_default();
    let steps = processing.as_object().into_iter().flatten();
    let on: Vec<&str> =
        steps.filter(|(_, on)| **on == Value::Bool(true)).map(|(step, _)| step.as_str()).collect();
    let text = if on.is_empty() { "none".to_owned() } else { on.join(" ") };
    facts.insert("model_processing".to_owned(), json!(format!("{text} ({})", plain(&reason))));
    facts.retain(|_, value| !value.is_null() && value.as_object().is_none_or(|o| !o.is_empty()));
}

fn plain(reason: &Value) -> String {
    reason.as_str().unwrap_or_default().replace('_', " ")
}

/// What SAELens' tutorial shows of a release: the fields of its look-up object.
fn lookup(release: &Release) -> Result<Value> {
    let saes = release.saes()?;
    let by_id = |value: &dyn Fn(&sae_registry::Entry) -> Value| -> Value {
        Value::Object(saes.iter().map(|entry| (entry.id.clone(), value(entry))).collect())
    };
    Ok(json!({
        "release": release.name,
        "repo_id": release.repo_id,
        "model": release.model,
        "conversion_func": release.conversion,
        "saes_map": by_id(&|entry| json!(entry.path)),
        "expected_var_explained": by_id(&|entry| json!(entry.variance_explained)),
        "expected_l0": by_id(&|entry| json!(entry.l0)),
        "neuronpedia_id": by_id(&|entry| json!(entry.neuronpedia_id)),
        "norm_scaling_factor": by_id(&|entry| json!(entry.norm_scaling_factor)),
        "config_overrides": release.overrides,
        "links": release.links,
    }))
}

fn tables(release: &Release) -> Result<()> {
    let mut about = show::table(&["field", "value"]);
    let rows = [
        ("release", release.name.clone()),
        ("model", release.model.clone()),
        ("repo_id", release.repo_id.clone()),
        ("conversion_func", release.conversion.clone().unwrap_or_else(|| "-".to_owned())),
        ("SAEs", release.n_saes.to_string()),
    ];
    for (field, value) in rows {
        about.add_row([field.to_owned(), value]);
    }
    for (field, value) in &release.overrides {
        about.add_row([field.clone(), value.to_string()]);
    }
    for (field, value) in &release.links {
        about.add_row([format!("link to {field}"), value.clone()]);
    }
    let mut saes = show::table(&["id", "hook", "d_sae", "l0", "neuronpedia", "path"]);
    for entry in release.saes()? {
        let sae = Published { release, entry };
        saes.add_row([
            sae.entry.id.clone(),
            show::maybe(sae.hook()),
            show::maybe(sae.width()),
            show::maybe(sae.entry.l0),
            show::maybe(sae.entry.neuronpedia_id.as_ref()),
            sae.entry.path.clone(),
        ]);
    }
    show::line(about)?;
    Ok(show::line(saes)?)
}
