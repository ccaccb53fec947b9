//! TopK (arXiv 2406.04093): the `k` largest pre-activations of each row, through a ReLU; AbsTopK
//! (arXiv 2510.00404): the `k` largest magnitudes, signs kept.

use candle_core::Tensor;

use super::dictionary::{Latents, Parts, decoder_norms};
use crate::hook::SaeSite;
use crate::ops::{encode_top_k, keep_top_k, keep_top_k_abs, linear};
use crate::sae::{Codes, Probe};
use crate::{Error, Result};

/// Latents of a TopK SAE.
#[derive(Clone, Debug)]
pub struct TopK {
    /// `[d_sae]`
    pub(super) b_enc: Tensor,
    /// Latents kept per row.
    pub(super) k: usize,
    /// Choose by magnitude, and keep signs.
    pub(super) signed: bool,
    /// Choose by pre-activation times decoder norm, and divide by it in decode.
    pub(super) rescale: bool,
    /// Decoder norms and their reciprocals, `[d_sae]`, while `rescale` holds.
    pub(super) norms: Option<(Tensor, Tensor)>,
}

impl Latents for TopK {
    fn encode(&self, parts: &Parts, x: &Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        let pre = linear(x, &parts.w_enc, Some(&self.b_enc))?;
        let pre = probe.at(SaeSite::ActsPre, pre)?;
        let pre = match &self.norms {
            Some((norms, _)) => pre.broadcast_mul(norms)?,
            None => pre,
        };
        if self.signed { keep_top_k_abs(&pre, self.k) } else { keep_top_k(&pre, self.k) }
    }

    fn encode_sparse(&self, parts: &Parts, x: &Tensor) -> Result<Codes> {
        if self.signed {
            return Codes::from_dense(&self.encode(parts, x, &mut ())?);
        }
        let scale = self.norms.as_ref().map(|(norms, _)| norms);
        encode_top_k(x, &parts.w_enc, &self.b_enc, scale, self.k)
    }

    fn decode_scale(&self) -> Option<&Tensor> {
        self.norms.as_ref().map(|(_, reciprocals)| reciprocals)
    }

    fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        vec![("b_enc", self.b_enc.clone())]
    }

    fn fold_norms(&mut self, _: &Parts, norms: &Tensor) -> Result<()> {
        if !self.rescale {
            return Err(Error::NotFoldable {
                op: "fold W_dec norm",
                why: "a topk SAE that does not rescale latents by decoder norm: the fold would \
                      change which latents are chosen",
            });
        }
        self.b_enc = (&self.b_enc * norms)?;
        Ok(())
    }

    fn shift_biases(&mut self, shift: &Tensor) -> Result<()> {
        self.b_enc = (&self.b_enc - shift)?;
        Ok(())
    }

    fn without_rescale(&mut self) {
        self.rescale = false;
        self.norms = None;
    }

    fn refresh(&mut self, parts: &Parts) -> Result<()> {
        if self.rescale {
            let norms = decoder_norms(&parts.w_dec)?;
            // (A decoder row of zeros must not make 0 times infinity of a latent that is off.)
            let reciprocals = norms.maximum(f32::MIN_POSITIVE)?.recip()?;
            self.norms = Some((norms, reciprocals));
        }
        Ok(())
    }
}
