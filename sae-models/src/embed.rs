//! Token and position embeddings.

use candle_core::{D, DType, Tensor};
use sae_core::{Error, Result};

use crate::linear::Matrix;
use crate::positions::Positions;

/// Embedding tables.
#[derive(Clone, Debug)]
pub(crate) struct Embed {
    /// `W_E` as published, a map from `d_model` to the vocabulary; shared with a tied unembedding.
    pub(crate) tokens: Matrix,
    /// What rows of `W_E` are multiplied by when they are looked up.
    pub(crate) scale: Option<f64>,
    /// `W_pos`, `[n_ctx, d_model]`, where positions are learned.
    pub(crate) positions: Option<Tensor>,
    /// Subtract the mean over `d_model` from each token's row (`center_writing_weights`). Done when
    /// a row is looked up, so that a tied table is held once.
    pub(crate) centre_tokens: bool,
}

impl Embed {
    pub(crate) fn new(tokens: Matrix, positions: Option<Tensor>, scale: Option<f64>) -> Self {
        Self { tokens, scale, positions, centre_tokens: false }
    }

    /// `[batch, pos, d_model]`
    pub(crate) fn tokens(&self, ids: &Tensor) -> Result<Tensor> {
        let (d_model, d_vocab) = self.tokens.dims()?;
        let flat = ids.flatten_all()?.to_vec1::<u32>()?;
        if let Some(token) = flat.iter().copied().find(|id| *id as usize >= d_vocab) {
            return Err(Error::TokenOutOfRange { token, d_vocab });
        }
        let (batch, pos) = ids.dims2()?;
        let rows = self.as_used(&self.tokens.outputs(&flat)?)?;
        Ok(rows.reshape((batch, pos, d_model))?)
    }

    /// Learned position embeddings of new tokens, `[batch, pos, d_model]`, zero where `mask` is 0;
    /// `None` where positions are not learned.
    pub(crate) fn positions(
        &self,
        (prompts, pos): (usize, usize),
        mask: Option<&Tensor>,
        ids: &Positions,
    ) -> Result<Option<Tensor>> {
        let Some(table) = &self.positions else { return Ok(None) };
        let d_model = table.dim(1)?;
        let rows = match ids {
            Positions::Shared { first, n } => {
                let rows = table.narrow(0, *first, *n)?.unsqueeze(0)?;
                rows.expand((prompts, pos, d_model))?.contiguous()?
            }
            Positions::Each(ids) => {
                let ids = Tensor::new(ids.as_slice(), table.device())?;
                table.index_select(&ids, 0)?.reshape((prompts, pos, d_model))?
            }
        };
        let Some(mask) = mask else { return Ok(Some(rows)) };
        Ok(Some(rows.broadcast_mul(&mask.to_dtype(DType::F32)?.unsqueeze(D::Minus1)?)?))
    }

    /// `W_E` as the model uses it, `[d_vocab, d_model]`.
    pub(crate) fn w_e(&self) -> Result<Tensor> {
        self.as_used(&self.tokens.widened()?.t()?)
    }

    fn as_used(&self, rows: &Tensor) -> Result<Tensor> {
        let rows = match self.scale {
            Some(scale) => (rows * scale)?,
            None => rows.clone(),
        };
        if !self.centre_tokens {
            return Ok(rows);
        }
        Ok(rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?)
    }
}
