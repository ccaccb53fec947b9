//! From the name of a published SAE to the SAE.

use std::path::{Component, Path, PathBuf};

use sae_core::fetch::{Fetch, FetchError, RemoteFile};
use sae_core::io::Fields;
use sae_core::sae::{Normalize, SaeSpec};
use sae_core::sae_lens::{LoadOptions, LoadReport, Loaded, assemble, parse_config};
use serde_json::{Map, Value};

use crate::format::{At, Convert, detect};
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
    let published = match catalogue.find(release, sae_id) {
        Ok(published) => published,
        Err(Error::UnknownRelease { name, nearest }) => {
            if release.split('/').count() != 2 {
                return Err(Error::NeitherReleaseNorRepository { name, nearest });
            }
            let at = At::new(fetch, release, sae_id, &options.revision);
            return load_at(&at, &detect(&at)?, &Map::new(), options);
        }
        Err(e) => return Err(e),
    };
    let conversion = published.release.conversion.as_deref();
    let converter: Converter = conversion.map_or(Ok(Converter::SaeLens), str::parse)?;
    let factor = options.norm_scaling_factor.or(published.entry.norm_scaling_factor);
    let options = Options { norm_scaling_factor: factor, ..options.clone() };
    let (repo_id, path) = (&published.release.repo_id, &published.entry.path);
    load(fetch, repo_id, path, &converter, &published.overrides(), &options)
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

/// A local folder or file, and the folders above it as the repository.
struct Local {
    root: PathBuf,
    /// The whole path, and what counts as the path in a repository.
    names: String,
    path: String,
}

/// How many of the last parts of a local path count as the path in the repository: as many as any
/// format has.
const PATH_PARTS: usize = 4;

impl Local {
    fn new(path: &Path) -> Result<Self, Error> {
        let io = |source| FetchError::Io { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(io)?;
        let parts: Vec<_> = absolute.components().collect();
        let named = parts.iter().filter(|part| matches!(part, Component::Normal(_))).count();
        let (root, rest) = parts.split_at(parts.len() - PATH_PARTS.min(named));
        let rest = rest.iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let rest: Vec<String> = rest.collect();
        let root: PathBuf = root.iter().collect();
        Ok(Self { root, names: absolute.display().to_string(), path: rest.join("/") })
    }

    fn at(&self) -> At<'_> {
        At::new(self, "local", &self.path, RemoteFile::MAIN).local(&self.names)
    }

    fn place(&self, file: &RemoteFile) -> Result<PathBuf, FetchError> {
        file.check()?;
        Ok(self.root.join(&file.path))
    }
}

impl Fetch for Local {
    fn get(&self, file: &RemoteFile) -> Result<PathBuf, FetchError> {
        let path = self.place(file)?;
        if path.is_file() {
            return Ok(path);
        }
        Err(FetchError::NotFound {
            repo_id: self.root.display().to_string(),
            path: file.path.clone(),
            url: path.display().to_string(),
        })
    }

    fn exists(&self, file: &RemoteFile) -> Result<bool, FetchError> {
        Ok(self.place(file)?.is_file())
    }
}
