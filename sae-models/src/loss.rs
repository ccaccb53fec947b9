//! Next-token cross entropy.

use candle_core::{D, DType, Tensor};
use sae_core::Result;
use sae_core::model::Batch;

/// Negative log-likelihood of each next token, `[batch, pos - 1]`, zero where this or the next
/// token is padding; and the weights, 1 where both are tokens.
fn weighted(logits: &Tensor, batch: &Batch) -> Result<(Tensor, Option<Tensor>)> {
    let n = logits.dim(1)? - 1;
    let log_probs = candle_nn::ops::log_softmax(&logits.narrow(1, 0, n)?, D::Minus1)?;
    let next = batch.ids().narrow(1, 1, n)?.contiguous()?.unsqueeze(D::Minus1)?;
    let nll = log_probs.gather(&next, D::Minus1)?.squeeze(D::Minus1)?.neg()?;
    let Some(mask) = batch.mask() else { return Ok((nll, None)) };
    let weight = (mask.narrow(1, 0, n)? * mask.narrow(1, 1, n)?)?.to_dtype(DType::F32)?;
    Ok(((nll * &weight)?, Some(weight)))
}

/// Loss of each next token, `[batch, pos - 1]`; zero where this or the next token is padding.
///
/// # Errors
/// Logits `[batch, pos, d_vocab]` of another batch.
pub fn loss_per_token(logits: &Tensor, batch: &Batch) -> Result<Tensor> {
    Ok(weighted(logits, batch)?.0)
}

/// Mean next-token loss over unpadded pairs, a scalar through which gradients flow
/// (TransformerLens' `lm_cross_entropy_loss`).
///
/// # Errors
/// As [`loss_per_token`].
pub fn loss(logits: &Tensor, batch: &Batch) -> Result<Tensor> {
    let (nll, weight) = weighted(logits, batch)?;
    match weight {
        Some(weight) => Ok((nll.sum_all()? / weight.sum_all()?)?),
        None => Ok(nll.mean_all()?),
    }
}
