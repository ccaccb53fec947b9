//! TopK (arXiv 2406.04093): the `k` largest pre-activations of each row, through a ReLU; AbsTopK
//! (arXiv 2510.00404): the `k` largest magnitudes, signs kept; BatchTopK (arXiv 2412.06410): the
//! largest of a whole batch.

use candle_core::Tensor;

use super::dictionary::{Latents, Parts, decoder_norms};
use super::shared::{as_rows, in_one_pass};
use crate::hook::SaeSite;
use crate::ops::{
    encode_batch_top_k, encode_top_k, encode_top_k_abs, keep_largest, keep_top_k, keep_top_k_abs,
    linear,
};
use crate::sae::{Codes, Probe};
use crate::{Error, Result};

/// Latents of an SAE that keeps the largest.
#[derive(Clone, Debug)]
pub struct TopK {
    /// `[d_sae]`
    pub(super) b_enc: Tensor,
    /// Which latents are kept.
    pub(super) keep: Keep,
    /// Choose by pre-activation times decoder norm, and divide by it in decode.
    pub(super) rescale: bool,
    /// Decoder norms and their reciprocals, `[d_sae]`, while `rescale` holds.
    pub(super) norms: Option<(Tensor, Tensor)>,
}

/// Which latents are kept.
#[derive(Clone, Debug)]
pub(super) enum Keep {
    /// So many of each row, through a ReLU.
    Largest(usize),
    /// So many of each row, by magnitude, with their signs.
    LargestMagnitudes(usize),
    /// So many per row on average of the whole batch, through a ReLU. The threshold, a scalar, is what
    /// training found to keep as many; inference uses it, and encoding does not.
    LargestOfBatch { k: f64, threshold: Tensor },
}

impl TopK {
    /// Pre-activations as they are chosen among, given and returned `[.., d_sae]`.
    fn rescaled(&self, pre: Tensor) -> Result<Tensor> {
        match &self.norms {
            Some((norms, _)) => Ok(pre.broadcast_mul(norms)?),
            None => Ok(pre),
        }
    }
}

/// Latents that a batch keeps, rounded down.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn kept(k: f64, rows: usize) -> usize {
    (k * rows as f64) as usize
}

impl Latents for TopK {
    fn encode(&self, parts: &Parts, x: &Tensor, probe: &mut dyn Probe) -> Result<Tensor> {
        if in_one_pass(x, &parts.w_enc, probe) {
            let dense = self.encode_sparse(parts, &as_rows(x)?)?.to_dense()?;
            let (mut shape, d_sae) = (x.dims().to_vec(), dense.dim(1)?);
            shape.pop();
            shape.push(d_sae);
            return Ok(dense.reshape(shape)?);
        }
        let pre = linear(x, &parts.w_enc, Some(&self.b_enc))?;
        let pre = self.rescaled(probe.at(SaeSite::ActsPre, pre)?)?;
        match self.keep {
            Keep::Largest(k) => keep_top_k(&pre, k),
            Keep::LargestMagnitudes(k) => keep_top_k_abs(&pre, k),
            Keep::LargestOfBatch { k, .. } => {
                let rows = pre.elem_count() / parts.spec.d_sae.max(1);
                keep_largest(&pre, kept(k, rows))
            }
        }
    }

    fn encode_sparse(&self, parts: &Parts, x: &Tensor) -> Result<Codes> {
        let scale = self.norms.as_ref().map(|(norms, _)| norms);
        match self.keep {
            Keep::Largest(k) => encode_top_k(x, &parts.w_enc, &self.b_enc, scale, k),
            Keep::LargestMagnitudes(k) => encode_top_k_abs(x, &parts.w_enc, &self.b_enc, scale, k),
            Keep::LargestOfBatch { k, .. } => {
                encode_batch_top_k(x, &parts.w_enc, &self.b_enc, scale, kept(k, x.dim(0)?))
            }
        }
    }

    fn decode_scale(&self) -> Option<&Tensor> {
        self.norms.as_ref().map(|(_, reciprocals)| reciprocals)
    }

    fn tensors(&self) -> Vec<(&'static str, Tensor)> {
        let mut all = vec![("b_enc", self.b_enc.clone())];
        if let Keep::LargestOfBatch { threshold, .. } = &self.keep {
            all.push(("topk_threshold", threshold.clone()));
        }
        all
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

    // The threshold is in units of pre-activation times decoder norm, and the norms were just divided.
    fn unscale(&mut self, scale: f64) -> Result<()> {
        if let (Keep::LargestOfBatch { threshold, .. }, true) = (&mut self.keep, self.rescale) {
            *threshold = (&*threshold / scale)?;
        }
        Ok(())
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
