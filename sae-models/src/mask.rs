//! Which keys a query sees: those up to its own position that are not padding, nor too far back.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use sae_core::Result;

/// Visibility of keys: `n_past` cached positions come before the first query.
#[derive(Clone, Debug)]
pub(crate) struct Visible {
    /// Keys before the first query.
    pub(crate) n_past: usize,
    /// Per prompt, 1 for tokens and 0 for padding, over all keys; `None` when nothing is padding.
    pub(crate) keys: Option<Vec<Vec<u8>>>,
}

impl Visible {
    /// From an attention mask, `[batch, pos]`, 1 for tokens and 0 for padding.
    pub(crate) fn new(n_past: usize, mask: Option<&Tensor>) -> Result<Self> {
        let keys = mask.map(|m| m.to_dtype(DType::U8)?.to_vec2::<u8>()).transpose()?;
        // Nothing is padding: no mask.
        let keys = keys.filter(|rows| rows.iter().flatten().any(|v| *v == 0));
        Ok(Self { n_past, keys })
    }

    /// Whether prompt `batch` may look at key `key` at all.
    pub(crate) fn key(&self, batch: usize, key: usize) -> bool {
        self.keys.as_ref().is_none_or(|rows| rows[batch][key] != 0)
    }

    /// The keys that query `query` sees if none is padding.
    pub(crate) fn range(&self, query: usize, window: Option<usize>) -> Range<usize> {
        let end = query + self.n_past + 1;
        window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Scores with minus infinity where a query does not see a key: `[batch, head, query, key]`.
    pub(crate) fn apply(&self, scores: &Tensor, window: Option<usize>) -> Result<Tensor> {
        let (batch, _, queries, keys) = scores.dims4()?;
        let rows = if self.keys.is_some() { batch } else { 1 };
        let mut mask = vec![0u8; rows * queries * keys];
        for (b, rows) in mask.chunks_exact_mut((queries * keys).max(1)).enumerate() {
            for (q, row) in rows.chunks_exact_mut(keys.max(1)).enumerate() {
                let range = self.range(q, window);
                for (k, seen) in row.iter_mut().enumerate() {
                    *seen = u8::from(range.contains(&k) && self.key(b, k));
                }
            }
        }
        let mask = Tensor::from_vec(mask, (rows, 1, queries, keys), &Device::Cpu)?
            .to_device(scores.device())?
            .broadcast_as(scores.shape())?;
        let blind = Tensor::new(f32::NEG_INFINITY, scores.device())?.to_dtype(DType::F32)?;
        let blind = blind.to_dtype(scores.dtype())?.broadcast_as(scores.shape())?;
        Ok(mask.where_cond(scores, &blind)?)
    }
}
