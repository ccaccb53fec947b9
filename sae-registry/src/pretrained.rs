//! From the name of a published SAE to the SAE.

use std::path::Path;

use sae_core::fetch::{Fetch, RemoteFile};
use sae_core::io::Fields;
use sae_core::sae::{Normalize, SaeSpec};
use sae_core::sae_lens::{LoadOptions, LoadReport, Loaded, assemble, parse_config};
use serde_json::{Map, Value};

use crate::format::{At, Convert, detect};
use crate::local::Local;
use crate::{Catalogue, Converter, Error};

/// What to do beside loading.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Branch, tag or commit.
    pub revision: String,
    /// The factor by which the trainer scaled activations: folded into the weights of SAEs whose
    /// configuration says that they need one, and of no others.
    pub norm_scaling_factor: Option<f64>,
    /// Fold decoder norms into the encoder.
    pub fold_w_dec_norm: bool,
}

impl Default for Options {
    fn default() -> Self {
        let revision = RemoteFile::MAIN.to_owned();
        Self { revision, norm_scaling_factor: None, fold_w_dec_norm: false }
    }
}

/// Load an SAE of the catalogue, or, where `release` is the id of a repository, what lies at `sae_id`
/// in it.
///
/// ```no_run
/// use sae_registry::{Catalogue, Hub, Options, from_pretrained};
///
/// let (hub, catalogue) = (Hub::from_env(), Catalogue::embedded()?);
/// let options = Options::default();
/// let loaded = from_pretrained(&hub, &catalogue, "gpt2-small-res-jb", "blocks.8.hook_resid_pre", &options)?;
/// println!("{} latents", loaded.sae.spec().d_sae);
/// # Ok::<(), sae_registry::Error>(())
/// ```
///
/// # Errors
/// No such release or SAE, or as [`load`].
pub fn from_pretrained(
    fetch: &dyn Fetch,
    catalogue: &Catalogue,
    release: &str,
    sae_id: &str,
    options: &Options,
) -> Result<Loaded, Error> {
    let found = Found::new(fetch, catalogue, release, sae_id, &options.revision)?;
    let factor = options.norm_scaling_factor.or(found.norm_scaling_factor);
    let options = Options { norm_scaling_factor: factor, ..options.clone() };
    load_at(&found.at(fetch, &options.revision), &found.converter, &found.overrides, &options)
}

/// The configuration of what [`from_pretrained`] would load, without the weights where that is possible.
///
/// # Errors
/// As [`from_pretrained`].
pub fn pretrained_spec(
    fetch: &dyn Fetch,
    catalogue: &Catalogue,
    release: &str,
    sae_id: &str,
    revision: &str,
) -> Result<SaeSpec, Error> {
    let found = Found::new(fetch, catalogue, release, sae_id, revision)?;
    spec(&found.at(fetch, revision), &found.converter, &found.overrides)
}

/// What a release and an id, or a repository and a path, lead to.
struct Found {
    repo_id: String,
    path: String,
    converter: Converter,
    overrides: Map<String, Value>,
    norm_scaling_factor: Option<f64>,
}

impl Found {
    fn new(
        fetch: &dyn Fetch,
        catalogue: &Catalogue,
        release: &str,
        sae_id: &str,
        revision: &str,
    ) -> Result<Self, Error> {
        match catalogue.find(release, sae_id) {
            Ok(published) => {
                let conversion = published.release.conversion.as_deref();
                Ok(Self {
                    repo_id: published.release.repo_id.clone(),
                    converter: conversion.map_or(Ok(Converter::SaeLens), str::parse)?,
                    overrides: published.overrides(),
                    norm_scaling_factor: published.entry.norm_scaling_factor,
                    path: published.entry.path,
                })
            }
            Err(Error::UnknownRelease { .. }) if release.split('/').count() == 2 => Ok(Self {
                repo_id: release.to_owned(),
                path: sae_id.to_owned(),
                converter: detect(&At::new(fetch, release, sae_id, revision))?,
                overrides: Map::new(),
                norm_scaling_factor: None,
            }),
            Err(Error::UnknownRelease { name, nearest }) => {
                Err(Error::NeitherReleaseNorRepository { name, nearest })
            }
            Err(e) => Err(e),
        }
    }

    fn at<'a>(&'a self, fetch: &'a dyn Fetch, revision: &'a str) -> At<'a> {
        At::new(fetch, &self.repo_id, &self.path, revision)
    }
}

/// Load what lies at `path` of a repository: a folder, or the one file of formats that have one.
///
/// `overrides` replace fields of the configuration, as SAELens' `config_overrides` do.
///
/// # Errors
/// A file cannot be fetched or is not what the format has there, names do not tell what the format
/// writes nowhere else, or a fold is not possible for the architecture.
pub fn load(
    fetch: &dyn Fetch,
    repo_id: &str,
    path: &str,
    converter: &dyn Convert,
    overrides: &Map<String, Value>,
    options: &Options,
) -> Result<Loaded, Error> {
    load_at(&At::new(fetch, repo_id, path, &options.revision), converter, overrides, options)
}

/// The configuration of what [`load`] would load; of weights no more than headers are fetched, except
/// for formats that have no other configuration.
///
/// # Errors
/// As [`load`].
pub fn spec(
    at: &At<'_>,
    converter: &dyn Convert,
    overrides: &Map<String, Value>,
) -> Result<SaeSpec, Error> {
    let mut fields = Fields::new(Path::new(&at.title()), converter.config(at)?);
    let map = fields.map_mut();
    for (key, value) in overrides {
        map.insert(key.clone(), value.clone());
        // Version 6 keeps what it knows of the model there, and nothing else under these names.
        if let Some(Value::Object(metadata)) = map.get_mut("metadata") {
            metadata.insert(key.clone(), value.clone());
        }
    }
    Ok(parse_config(fields)?)
}

/// Load a local folder or file of any format; without a converter the files tell the format.
///
/// Formats that say nothing of the model read it from the names of the folders above.
///
/// # Errors
/// As [`load`], or the format cannot be told.
pub fn load_path(
    path: &Path,
    converter: Option<&dyn Convert>,
    overrides: &Map<String, Value>,
    options: &Options,
) -> Result<Loaded, Error> {
    let local = Local::new(path)?;
    let at = local.at();
    match converter {
        Some(converter) => load_at(&at, converter, overrides, options),
        None => load_at(&at, &detect(&at)?, overrides, options),
    }
}

/// The configuration of what [`load_path`] would load.
///
/// # Errors
/// As [`load_path`].
pub fn spec_path(
    path: &Path,
    converter: Option<&dyn Convert>,
    overrides: &Map<String, Value>,
) -> Result<SaeSpec, Error> {
    let local = Local::new(path)?;
    let at = local.at();
    match converter {
        Some(converter) => spec(&at, converter, overrides),
        None => spec(&at, &detect(&at)?, overrides),
    }
}

fn load_at(
    at: &At<'_>,
    converter: &dyn Convert,
    overrides: &Map<String, Value>,
    options: &Options,
) -> Result<Loaded, Error> {
    let spec = spec(at, converter, overrides)?;
    let log_sparsity = converter.log_sparsity(at, &spec)?;
    let mut weights = converter.weights(at, &spec)?;
    let scaled = spec.normalize_activations == Normalize::ExpectedAverageOnlyIn;
    let folds = LoadOptions {
        norm_scaling_factor: options.norm_scaling_factor.filter(|_| scaled),
        fold_w_dec_norm: options.fold_w_dec_norm,
    };
    let (sae, mut notes) = assemble(spec, &mut weights, Path::new(&at.title()), folds)?;
    notes.extend(converter.note(at));
    Ok(Loaded { sae, log_sparsity, report: LoadReport { unused: weights.unused(), notes } })
}
