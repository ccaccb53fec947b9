//! From what a user calls a model to its files, and the catalogue of SAEs that is meant.

use std::path::Path;

use anyhow::{Context, Result, bail};
use sae_core::io::{Fields, Folder};
use sae_models::KnownModel;
use sae_registry::{Catalogue, gguf_file, model_files, tokenizer_files};

use crate::{embedded, progress};

pub(crate) const DEMO: &str = "demo";
const REVISION: &str = "main";
/// What the hub is used for here.
pub(crate) const FETCHING: &str = "fetching";

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
    // A folder, or a GGUF file; what is in it is for the loader to say.
    if Path::new(name).exists() {
        return Ok(Folder::disk(name));
    }
    if is_path(name) {
        bail!("`{name}` is neither a folder nor a file here");
    }
    if let Some((repo, file)) = gguf(name) {
        let path = gguf_file(&progress::hub(FETCHING), repo, file, REVISION)
            .with_context(|| format!("model `{name}` is not a file here; as a file of a hub id"))?;
        return Ok(Folder::disk(path));
    }
    if name.split('/').count() > 2 {
        bail!("`{name}` is neither a folder, nor a file, nor a hub id (`owner/model`)");
    }
    // What no folder and no hub id is called (those have an owner) must be a name that is known.
    let id = match KnownModel::named(name) {
        Ok(known) => known.hub_id,
        Err(unknown) if !name.contains('/') => {
            let context = "neither a folder nor a file here, nor a hub id (`owner/model`)";
            return Err(anyhow::Error::new(unknown).context(format!("`{name}` is {context}")));
        }
        Err(_) => name,
    };
    let files = model_files(&progress::hub(FETCHING), id, REVISION)
        .with_context(|| format!("model `{name}` is not a folder here; as a hub id"))?;
    Ok(Folder::disk(files.dir))
}

/// The folder of a model's tokenizer: the model's own, or that of the repository which TransformerLens'
/// configurations name.
pub(crate) fn tokenizer(model: &Folder) -> Result<Folder> {
    const CONFIG: &str = "config.json";
    if model.has("tokenizer.json") || !model.has(CONFIG) {
        return Ok(model.clone());
    }
    let config = Fields::parse(&model.path(CONFIG), &model.read(CONFIG)?)?;
    let Some(id) = config.text("tokenizer_name")? else { return Ok(model.clone()) };
    let files = tokenizer_files(&progress::hub(FETCHING), &id, REVISION)
        .with_context(|| format!("the model's tokenizer, `{id}`"))?;
    Ok(Folder::disk(files.dir))
}

/// Written as only paths are: what begins so is no hub id.
fn is_path(name: &str) -> bool {
    Path::new(name).is_absolute() || matches!(name.split('/').next(), Some("" | "." | ".." | "~"))
}

/// `owner/model/path/to/file.gguf` -> the hub id and the file.
fn gguf(name: &str) -> Option<(&str, &str)> {
    let (owner, rest) = name.split_once('/')?;
    let (repo, file) = rest.split_once('/')?;
    name.ends_with(".gguf").then_some((&name[..owner.len() + 1 + repo.len()], file))
}
