//! Weights to begin with (`from_pretrained_path`): a folder of SAELens, or one of our own checkpoints.

use std::path::Path;

use sae_core::io::TensorFile;
use sae_core::sae_lens::{CFG_FILE, WEIGHTS_FILE};
use serde_json::Value;

use crate::checkpoint::{read_tensors, read_threshold};
use crate::params::Params;
use crate::recipe::Recipe;
use crate::{Error, Result};

/// Weights that were trained before.
pub(crate) struct Pretrained {
    pub(crate) params: Params,
    /// Where a BatchTopK SAE stood.
    pub(crate) topk_threshold: Option<f64>,
}

impl Pretrained {
    /// The SAE in the folder `path`, which must be of the architecture and size that is to be trained.
    ///
    /// # Errors
    /// A file is missing or damaged, or the SAE is another one.
    pub(crate) fn read(path: &Path, recipe: &dyn Recipe, like: &Params) -> Result<Self> {
        let cfg = path.join(CFG_FILE);
        let wrong = |problem: String| Error::Checkpoint { path: cfg.clone(), problem };
        let text = std::fs::read(&cfg).map_err(|source| Error::Io { path: cfg.clone(), source })?;
        let json: Value =
            serde_json::from_slice(&text).map_err(|e| wrong(format!("not JSON: {e}")))?;
        // (Configurations of early 2024 name no architecture.)
        let there = json["architecture"].as_str().unwrap_or("standard");
        if there != recipe.name() {
            let here = recipe.name();
            return Err(wrong(format!("is a `{there}` SAE, the run trains a `{here}` SAE")));
        }
        for (field, want) in [("d_in", like.d_in), ("d_sae", like.d_sae)] {
            if json[field].as_u64() != Some(want as u64) {
                return Err(wrong(format!("`{field}` is {}, the run's is {want}", json[field])));
            }
        }
        let weights = path.join(WEIGHTS_FILE);
        let params = thresholds(&weights, like)?;
        let topk_threshold = match recipe.threshold_rate() {
            Some(_) => read_threshold(&weights)?.or(Some(0.0)),
            None => None,
        };
        Ok(Self { params, topk_threshold })
    }
}

/// The weights; thresholds are read as they are trained, whether the file has them or their logarithms.
fn thresholds(weights: &Path, like: &Params) -> Result<Params> {
    let file = TensorFile::open(weights)?;
    let absent = like.per_latent.iter().position(|(name, _)| file.shape(name).is_none());
    let there = absent.and_then(|at| match like.per_latent[at].0 {
        "threshold" => Some((at, "log_threshold")),
        "log_threshold" => Some((at, "threshold")),
        _ => None,
    });
    let Some((at, there)) = there.filter(|(_, there)| file.shape(there).is_some()) else {
        return read_tensors(weights, like, "");
    };
    let mut renamed = like.clone();
    renamed.per_latent[at].0 = there;
    let mut params = read_tensors(weights, &renamed, "")?;
    let to_wanted = if there == "log_threshold" { f32::exp } else { f32::ln };
    params.per_latent[at].0 = like.per_latent[at].0;
    params.latent_mut(at).iter_mut().for_each(|t| *t = to_wanted(*t));
    Ok(params)
}
