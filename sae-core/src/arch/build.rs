//! From a spec and named tensors to an SAE.

use std::borrow::Cow;

use candle_core::Tensor;

use super::dictionary::{Dictionary, Parts};
use super::topk::Keep;
use super::{Gated, JumpRelu, PursuitSae, Standard, TemporalSae, TopK};
use crate::sae::{Architecture, Sae, SaeSpec, Transcoder};
use crate::{Error, Result};

/// Where weights come from, by SAELens' names.
pub trait WeightSource {
    /// The tensor `name`, of this shape, in f32.
    ///
    /// # Errors
    /// Absent, or of another shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor>;

    /// As [`WeightSource::take`]; `None` when absent.
    ///
    /// # Errors
    /// Of another shape.
    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>>;
}

/// Tensors of an SAE that is already in memory.
pub(super) struct InMemory(pub(super) Vec<(Cow<'static, str>, Tensor)>);

impl InMemory {
    pub(super) fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor)
    }

    /// As [`InMemory::get`], an error where there is none.
    pub(super) fn find(&self, name: &str, want: &[usize]) -> Result<&Tensor> {
        self.get(name).ok_or_else(|| Error::MissingTensor {
            path: "the weights in memory".into(),
            name: name.to_owned(),
            want: want.to_vec(),
        })
    }
}

impl WeightSource for InMemory {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.find(name, shape).cloned()
    }

    fn take_if_there(&mut self, name: &str, _: &[usize]) -> Result<Option<Tensor>> {
        Ok(self.get(name).cloned())
    }
}

/// The SAE that `spec` describes, with weights from `source`.
///
/// # Errors
/// A tensor that is missing or of the wrong shape, or a normalisation that the architecture cannot have.
pub fn build(spec: SaeSpec, source: &mut dyn WeightSource) -> Result<Box<dyn Sae>> {
    let per_latent = [spec.d_sae];
    if !spec.normalize_activations.fits(&spec.architecture) {
        return Err(spec.misfit());
    }
    Ok(match spec.architecture.clone() {
        Architecture::MatchingPursuit(stop) => Box::new(PursuitSae::build(spec, stop, source)?),
        Architecture::Temporal(temporal) => Box::new(TemporalSae::build(spec, temporal, source)?),
        Architecture::Standard { tanh } => {
            let b_enc = source.take("b_enc", &per_latent)?;
            Box::new(Dictionary::assemble(parts(spec, source)?, Standard { b_enc, tanh })?)
        }
        Architecture::Gated => {
            let latents = Gated {
                b_gate: source.take("b_gate", &per_latent)?,
                b_mag: source.take("b_mag", &per_latent)?,
                r_mag: source.take("r_mag", &per_latent)?,
            };
            Box::new(Dictionary::assemble(parts(spec, source)?, latents)?)
        }
        Architecture::TopK { k, rescale_acts_by_decoder_norm } => {
            topk(spec, Keep::Largest(k), rescale_acts_by_decoder_norm, source)?
        }
        Architecture::AbsTopK { k, rescale_acts_by_decoder_norm } => {
            topk(spec, Keep::LargestMagnitudes(k), rescale_acts_by_decoder_norm, source)?
        }
        Architecture::BatchTopK(batch) => {
            let threshold = source.take("topk_threshold", &[])?;
            let keep = Keep::LargestOfBatch { k: batch.k, threshold };
            topk(spec, keep, batch.rescale_acts_by_decoder_norm, source)?
        }
        Architecture::JumpRelu => {
            let latents = JumpRelu {
                b_enc: source.take("b_enc", &per_latent)?,
                threshold: source.take("threshold", &per_latent)?,
                signed: spec.training,
            };
            Box::new(Dictionary::assemble(parts(spec, source)?, latents)?)
        }
    })
}

/// An SAE that keeps the largest of its latents.
fn topk(
    spec: SaeSpec,
    keep: Keep,
    rescale: bool,
    source: &mut dyn WeightSource,
) -> Result<Box<dyn Sae>> {
    let b_enc = source.take("b_enc", &[spec.d_sae])?;
    let latents = TopK { b_enc, keep, rescale, norms: None };
    Ok(Box::new(Dictionary::assemble(parts(spec, source)?, latents)?))
}

/// The weights that dictionaries share.
fn parts(spec: SaeSpec, source: &mut dyn WeightSource) -> Result<Parts> {
    let (d_in, d_sae, d_out) = (spec.d_in, spec.d_sae, spec.d_out());
    Ok(Parts {
        w_enc: source.take("W_enc", &[d_in, d_sae])?,
        w_dec: source.take("W_dec", &[d_sae, d_out])?,
        b_dec: source.take("b_dec", &[d_out])?,
        w_skip: match spec.transcoder {
            Some(Transcoder { skip: true, .. }) => Some(source.take("W_skip", &[d_out, d_in])?),
            _ => None,
        },
        finetuning_scale: source.take_if_there("finetuning_scaling_factor", &[d_sae])?,
        spec,
    })
}
