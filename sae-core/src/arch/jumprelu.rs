//! JumpReLU (arXiv 2407.14435): pre-activations strictly above a threshold per latent.

use candle_core::Tensor;

use super::dictionary::{Latents, Parts};
use super::shared::in_one_pass;
use crate::Result;
use crate::hook::SaeSite;
use crate::ops::{encode_above, jump, latents_above, linear};
use crate::sae::{Codes, Probe};

/// Latents of a JumpReLU SAE: `f = ReLU(h) 1[h > threshold]`.
#[derive(Clone, Debug)]
pub struct JumpRelu {
    /// `[d_sae]`
    pub(super) b_enc: Tensor,
    /// `[d_sae]`
    pub(super) threshold: Tensor,
    /// Do without the ReLU, as in training: a threshold below 0 lets negative latents pass.
    pub(super) signed: bool,
}

impl JumpRelu {
    /// What pre-activations must exceed, `[d_sae]`.
    fn least(&self) -> Result<Tensor> {
        Ok(if self.signed { self.threshold.clone() } else { self.threshold.maximum(0f32)? })
    }
}

impl Latents for JumpRelu {
    fn encode(&self, parts: &Parts, x: &Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        if in_one_pass(x, &parts.w_enc, probe) {
            return latents_above(x, &parts.w_enc, &self.b_enc, Some(&self.least()?));
        }
        let pre = linear(x, &parts.w_enc, Some(&self.b_enc))?;
        jump(&probe.at(SaeSite::ActsPre, pre)?, &self.least()?)
    }

    fn encode_sparse(&self, parts: &Parts, x: &Tensor) -> Result<Codes> {
        encode_above(x, &parts.w_enc, &self.b_enc, Some(&self.least()?))
    }

    fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        vec![("b_enc", self.b_enc.clone()), ("threshold", self.threshold.clone())]
    }

    fn fold_norms(&mut self, _: &Parts, norms: &Tensor) -> Result<()> {
        self.b_enc = (&self.b_enc * norms)?;
        self.threshold = (&self.threshold * norms)?;
        Ok(())
    }

    fn shift_biases(&mut self, shift: &Tensor) -> Result<()> {
        self.b_enc = (&self.b_enc - shift)?;
        Ok(())
    }
}
