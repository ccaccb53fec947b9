//! From a spec and named tensors to an SAE.

use candle_core::Tensor;

use super::dictionary::{Dictionary, Parts};
use super::{Gated, JumpRelu, Standard, TopK};
use crate::Result;
use crate::sae::{Architecture, Sae, SaeSpec};

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

/// The SAE that `spec` describes, with weights from `source`.
///
/// # Errors
/// A tensor that is missing or of the wrong shape.
pub fn build(spec: SaeSpec, source: &mut dyn WeightSource) -> Result<Box<dyn Sae>> {
    let (d_in, d_sae) = (spec.d_in, spec.d_sae);
    let per_latent = [d_sae];
    let architecture = spec.architecture.clone();
    let parts = Parts {
        w_enc: source.take("W_enc", &[d_in, d_sae])?,
        w_dec: source.take("W_dec", &[d_sae, d_in])?,
        b_dec: source.take("b_dec", &[d_in])?,
        finetuning_scale: source.take_if_there("finetuning_scaling_factor", &per_latent)?,
        spec,
    };
    Ok(match architecture {
        Architecture::Standard { tanh } => {
            let b_enc = source.take("b_enc", &per_latent)?;
            Box::new(Dictionary::assemble(parts, Standard { b_enc, tanh })?)
        }
        Architecture::Gated => {
            let latents = Gated {
                b_gate: source.take("b_gate", &per_latent)?,
                b_mag: source.take("b_mag", &per_latent)?,
                r_mag: source.take("r_mag", &per_latent)?,
            };
            Box::new(Dictionary::assemble(parts, latents)?)
        }
        Architecture::TopK { k, rescale_acts_by_decoder_norm: rescale } => {
            let b_enc = source.take("b_enc", &per_latent)?;
            Box::new(Dictionary::assemble(parts, TopK { b_enc, k, rescale, norms: None })?)
        }
        Architecture::JumpRelu => {
            let latents = JumpRelu {
                b_enc: source.take("b_enc", &per_latent)?,
                threshold: source.take("threshold", &per_latent)?,
            };
            Box::new(Dictionary::assemble(parts, latents)?)
        }
    })
}
