//! From a spec and named tensors to an SAE.

use candle_core::Tensor;

use super::dictionary::{Dictionary, Parts};
use super::{Gated, JumpRelu, PursuitSae, Standard, TemporalSae, TopK};
use crate::Result;
use crate::sae::{Architecture, Sae, SaeSpec, Transcoder};

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
    let per_latent = [spec.d_sae];
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
        Architecture::TopK { k, rescale_acts_by_decoder_norm: rescale } => {
            let b_enc = source.take("b_enc", &per_latent)?;
            let latents = TopK { b_enc, k, signed: false, rescale, norms: None };
            Box::new(Dictionary::assemble(parts(spec, source)?, latents)?)
        }
        Architecture::AbsTopK { k, rescale_acts_by_decoder_norm: rescale } => {
            let b_enc = source.take("b_enc", &per_latent)?;
            let latents = TopK { b_enc, k, signed: true, rescale, norms: None };
            Box::new(Dictionary::assemble(parts(spec, source)?, latents)?)
        }
        Architecture::JumpRelu => {
            let latents = JumpRelu {
                b_enc: source.take("b_enc", &per_latent)?,
                threshold: source.take("threshold", &per_latent)?,
            };
            Box::new(Dictionary::assemble(parts(spec, source)?, latents)?)
        }
    })
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
