//! Token and position embeddings.

use candle_core::{D, DType, Tensor};
use sae_core::model::Batch;
use sae_core::{Error, Result};

/// Embedding tables.
#[derive(Clone, Debug)]
pub(crate) struct Embed {
    /// `W_E` as published, `[d_vocab, d_model]`; shared with a tied unembedding.
    pub(crate) tokens: Tensor,
    /// `W_pos`, `[n_ctx, d_model]`
    pub(crate) positions: Tensor,
    /// Subtract the mean over `d_model` from each token's row (`center_writing_weights`). Done when
    /// a row is looked up, so that a tied table is held once.
    pub(crate) centre_tokens: bool,
}

impl Embed {
    /// `[batch, pos, d_model]`
    pub(crate) fn tokens(&self, ids: &Tensor) -> Result<Tensor> {
        let (d_vocab, d_model) = self.tokens.dims2()?;
        let flat = ids.flatten_all()?;
        if let Some(token) = flat.to_vec1::<u32>()?.into_iter().find(|id| *id as usize >= d_vocab) {
            return Err(Error::TokenOutOfRange { token, d_vocab });
        }
        let (batch, pos) = ids.dims2()?;
        let rows = self.centre(&self.tokens.index_select(&flat, 0)?)?;
        Ok(rows.reshape((batch, pos, d_model))?)
    }

    /// Learned position embeddings of new tokens, `[batch, pos, d_model]`, zero where masked.
    /// `visible` counts the unmasked positions before the new ones, per prompt.
    pub(crate) fn positions(&self, batch: &Batch, before: &[usize]) -> Result<Tensor> {
        let (n, pos) = batch.ids().dims2()?;
        let d_model = self.positions.dim(1)?;
        let Some(mask) = batch.mask() else {
            // Without padding all prompts have the same positions.
            let first = before.first().copied().unwrap_or(0);
            let rows = self.positions.narrow(0, first, pos)?;
            return Ok(rows.unsqueeze(0)?.expand((n, pos, d_model))?.contiguous()?);
        };
        let mask_rows = mask.to_vec2::<u8>()?;
        let ids: Vec<u32> =
            mask_rows.iter().zip(before).flat_map(|(row, seen)| position_ids(row, *seen)).collect();
        let ids = Tensor::from_vec(ids, n * pos, mask.device())?;
        let rows = self.positions.index_select(&ids, 0)?.reshape((n, pos, d_model))?;
        Ok(rows.broadcast_mul(&mask.to_dtype(DType::F32)?.unsqueeze(D::Minus1)?)?)
    }

    /// `W_E` as the model uses it, `[d_vocab, d_model]`.
    pub(crate) fn w_e(&self) -> Result<Tensor> {
        self.centre(&self.tokens)
    }

    fn centre(&self, rows: &Tensor) -> Result<Tensor> {
        if !self.centre_tokens {
            return Ok(rows.clone());
        }
        Ok(rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?)
    }
}

/// Positions count over unmasked tokens only: `cumsum(mask) - 1`, not below zero.
#[allow(clippy::cast_possible_truncation)] // a context is never longer than u32::MAX
fn position_ids(mask: &[u8], seen: usize) -> Vec<u32> {
    let mut count = seen as u32;
    mask.iter()
        .map(|visible| {
            count += u32::from(*visible);
            count.saturating_sub(1)
        })
        .collect()
}
