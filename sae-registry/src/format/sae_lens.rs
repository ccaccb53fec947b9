//! `sae_lens`: SAELens' own folders.

use candle_core::Tensor;
use sae_core::arch::WeightSource;
use sae_core::sae::SaeSpec;
use sae_core::sae_lens::{CFG_FILE, SPARSITY_FILE, WEIGHTS_FILE};
use serde_json::{Map, Value};

use super::{At, Convert, Renamed};
use crate::Error;

/// `{folder}/cfg.json`, `sae_weights.safetensors`, maybe `sparsity.safetensors`.
pub(super) struct SaeLens;

impl Convert for SaeLens {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        Ok(at.json(&at.inside(CFG_FILE))?.map().clone())
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        Ok(Renamed::of(at.tensors(&at.inside(WEIGHTS_FILE))?).others_as_they_are())
    }

    fn log_sparsity(&self, at: &At<'_>, spec: &SaeSpec) -> Result<Option<Tensor>, Error> {
        let path = at.inside(SPARSITY_FILE);
        if at.maybe_file(&path)?.is_none() {
            return Ok(None);
        }
        Ok(Some(at.tensors(&path)?.as_mut().take("sparsity", &[spec.d_sae])?))
    }
}
