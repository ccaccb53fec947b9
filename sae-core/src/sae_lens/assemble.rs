//! From a spec and weights as SAELens names them to an SAE: what its older versions wrote is settled,
//! what was asked for is folded.

use std::path::Path;

use candle_core::Tensor;

use super::LoadOptions;
use crate::arch::{WeightSource, build};
use crate::sae::{Normalize, Sae, SaeSpec};
use crate::{Error, Result};

const FINETUNED: &str = "finetuning_scaling_factor";

/// The SAE of a spec and weights, and what a user should know; `path` is what messages call the
/// weights.
///
/// # Errors
/// A tensor is not what it should be, or a fold is not possible for the architecture.
pub fn assemble(
    mut spec: SaeSpec,
    weights: &mut dyn WeightSource,
    path: &Path,
    options: LoadOptions,
) -> Result<(Box<dyn Sae>, Vec<String>)> {
    let finetuned = spec.metadata.contains_key(FINETUNED);
    let scaling_factor = scaling_factor(weights, path, spec.d_sae, finetuned)?;
    if scaling_factor.is_none() {
        spec.metadata.remove(FINETUNED);
    }
    let trainer_scaled = spec.normalize_activations == Normalize::ExpectedAverageOnlyIn;
    let mut sae = build(spec, &mut Settled { weights, scaling_factor })?;
    let mut notes = Vec::new();
    match options.norm_scaling_factor {
        Some(scale) => sae.fold_activation_norm_scaling_factor(scale)?,
        None if trainer_scaled => notes.push(
            "trained on activations scaled to an expected norm, and no scale was given to fold: \
             feed it scaled activations"
                .to_owned(),
        ),
        None => {}
    }
    if options.fold_w_dec_norm {
        sae.fold_w_dec_norm()?;
    }
    Ok((sae, notes))
}

/// Versions 3 to 5 wrote a `scaling_factor` always. All ones means nothing; anything else needs the
/// flag that says it was finetuned.
fn scaling_factor(
    weights: &mut dyn WeightSource,
    path: &Path,
    d_sae: usize,
    finetuned: bool,
) -> Result<Option<Tensor>> {
    let Some(factor) = weights.take_if_there("scaling_factor", &[d_sae])? else { return Ok(None) };
    #[allow(clippy::float_cmp)] // exactly one, as it was initialised
    let all_ones = factor.to_vec1::<f32>()?.iter().all(|f| *f == 1.0);
    match (all_ones, finetuned) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(factor)),
        (false, false) => Err(Error::BadFile {
            path: path.to_owned(),
            problem: "tensor `scaling_factor` is not all ones, but cfg.json does not say \
                      `finetuning_scaling_factor: true`"
                .to_owned(),
        }),
    }
}

/// Weights, with what other versions call otherwise.
struct Settled<'a> {
    weights: &'a mut dyn WeightSource,
    scaling_factor: Option<Tensor>,
}

impl WeightSource for Settled<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match self.take_if_there(name, shape)? {
            Some(tensor) => Ok(tensor),
            None => self.weights.take(name, shape),
        }
    }

    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        if name == FINETUNED && self.scaling_factor.is_some() {
            return Ok(self.scaling_factor.take());
        }
        match self.weights.take_if_there(name, shape)? {
            // Training checkpoints of versions 5 to 6.53 hold the logarithm.
            None if name == "threshold" => {
                let log = self.weights.take_if_there("log_threshold", shape)?;
                Ok(log.map(|log| log.exp()).transpose()?)
            }
            found => Ok(found),
        }
    }
}
