//! Gated (arXiv 2404.16014): a gate decides which latents are on, a tied path how strongly.

use candle_core::Tensor;

use super::dictionary::{Latents, Parts};
use super::shared::in_one_pass;
use crate::Result;
use crate::hook::SaeSite;
use crate::ops::{encode_gated, latents_gated, linear, relu};
use crate::sae::{Codes, Probe};

/// Latents of a gated SAE: `f = 1[x W_enc + b_gate > 0] ReLU(x (W_enc * exp(r_mag)) + b_mag)`.
#[derive(Clone, Debug)]
pub struct Gated {
    /// `[d_sae]`
    pub(super) b_gate: Tensor,
    /// `[d_sae]`
    pub(super) b_mag: Tensor,
    /// `[d_sae]`
    pub(super) r_mag: Tensor,
}

impl Latents for Gated {
    fn encode(&self, parts: &Parts, x: &Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        if in_one_pass(x, &parts.w_enc, probe) {
            let factor = self.r_mag.exp()?;
            return latents_gated(x, &parts.w_enc, &self.b_gate, &factor, &self.b_mag);
        }
        // Both paths share one product: x W_enc, then a bias, or a factor and a bias.
        let shared = linear(x, &parts.w_enc, None)?;
        let gate = shared.broadcast_add(&self.b_gate)?.detach().gt(0f32)?;
        let magnitude = shared.broadcast_mul(&self.r_mag.exp()?)?.broadcast_add(&self.b_mag)?;
        let magnitude = relu(&probe.at(SaeSite::ActsPre, magnitude)?)?;
        Ok((magnitude * gate.to_dtype(parts.w_enc.dtype())?)?)
    }

    fn encode_sparse(&self, parts: &Parts, x: &Tensor) -> Result<Codes> {
        encode_gated(x, &parts.w_enc, &self.b_gate, &self.r_mag.exp()?, &self.b_mag)
    }

    fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        vec![
            ("b_gate", self.b_gate.clone()),
            ("b_mag", self.b_mag.clone()),
            ("r_mag", self.r_mag.clone()),
        ]
    }

    // r_mag is a factor and stays. (SAELens up to 5.9 scaled it too, which changed outputs.)
    fn fold_norms(&mut self, _: &Parts, norms: &Tensor) -> Result<()> {
        self.b_gate = (&self.b_gate * norms)?;
        self.b_mag = (&self.b_mag * norms)?;
        Ok(())
    }

    fn shift_biases(&mut self, shift: &Tensor) -> Result<()> {
        self.b_gate = (&self.b_gate - shift)?;
        self.b_mag = (&self.b_mag - (self.r_mag.exp()? * shift)?)?;
        Ok(())
    }
}
