//! Standard: `f = ReLU(x W_enc + b_enc)`, or the tanh of it (SAELens 3 to 5).

use candle_core::Tensor;

use super::dictionary::{Latents, Parts};
use super::shared::in_one_pass;
use crate::Result;
use crate::hook::SaeSite;
use crate::ops::{encode_above, latents_above, linear, relu};
use crate::sae::{Codes, Probe};

/// Latents of a standard SAE.
#[derive(Clone, Debug)]
pub struct Standard {
    /// `[d_sae]`
    pub(super) b_enc: Tensor,
    /// Take the tanh of the ReLU.
    pub(super) tanh: bool,
}

impl Latents for Standard {
    fn encode(&self, parts: &Parts, x: &Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        let acts = if in_one_pass(x, &parts.w_enc, probe) {
            latents_above(x, &parts.w_enc, &self.b_enc, None)?
        } else {
            let pre = linear(x, &parts.w_enc, Some(&self.b_enc))?;
            relu(&probe.at(SaeSite::ActsPre, pre)?)?
        };
        Ok(if self.tanh { acts.tanh()? } else { acts })
    }

    fn encode_sparse(&self, parts: &Parts, x: &Tensor) -> Result<Codes> {
        let codes = encode_above(x, &parts.w_enc, &self.b_enc, None)?;
        Ok(if self.tanh { codes.map(f32::tanh) } else { codes })
    }

    fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        vec![("b_enc", self.b_enc.clone())]
    }

    fn fold_norms(&mut self, _: &Parts, norms: &Tensor) -> Result<()> {
        if self.tanh {
            return Err(crate::Error::NotFoldable {
                op: "fold W_dec norm",
                why: "tanh-relu latents, which do not scale with their pre-activations",
            });
        }
        self.b_enc = (&self.b_enc * norms)?;
        Ok(())
    }

    fn shift_biases(&mut self, shift: &Tensor) -> Result<()> {
        self.b_enc = (&self.b_enc - shift)?;
        Ok(())
    }
}
