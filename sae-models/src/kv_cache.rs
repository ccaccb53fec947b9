//! `KvCache`: keys and values of the tokens that went through before.

use candle_core::Tensor;
use candle_nn::kv_cache::KvCache as LayerCache;
use sae_core::model::{Batch, ModelSpec};
use sae_core::{Error, Result};

use crate::mask::Visible;

/// The axis of positions in cached keys and values.
const POSITION_AXIS: usize = 1;
/// Room is made for so many positions at a time: contexts may be long, and prompts short.
const STEP: usize = 256;

/// Keys and values per layer, `[batch, pos, kv_head, d_head]`, and which positions are padding.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    /// Per prompt, 1 for tokens and 0 for padding; empty before the first run.
    mask: Vec<Vec<u8>>,
    n_ctx: usize,
}

impl KvCache {
    /// An empty cache for a model.
    pub fn new(spec: &ModelSpec) -> Self {
        let layer = || LayerCache::new(POSITION_AXIS, STEP.min(spec.n_ctx));
        let layers = (0..spec.n_layers).map(|_| layer()).collect();
        Self { layers, mask: Vec::new(), n_ctx: spec.n_ctx }
    }

    /// A copy that shares nothing with this one: appending to either leaves the other alone.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn fork(&self) -> Result<Self> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let mut copy = LayerCache::new(POSITION_AXIS, STEP.min(self.n_ctx));
            if let (Some(k), Some(v)) = (layer.k()?, layer.v()?) {
                copy.append(&k.contiguous()?, &v.contiguous()?)?;
            }
            layers.push(copy);
        }
        Ok(Self { layers, mask: self.mask.clone(), n_ctx: self.n_ctx })
    }

    /// How many positions are cached.
    pub fn len(&self) -> usize {
        self.mask.first().map_or(0, Vec::len)
    }

    /// Whether nothing is cached.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Unmasked positions cached so far, per prompt; `n` prompts.
    pub(crate) fn counts(&self, n: usize) -> Vec<usize> {
        if self.mask.is_empty() {
            return vec![0; n];
        }
        self.mask.iter().map(|row| row.iter().map(|v| usize::from(*v)).sum()).collect()
    }

    /// Take note of new tokens, and say what they see.
    pub(crate) fn extend(&mut self, batch: &Batch) -> Result<Visible> {
        let (n, pos) = batch.ids().dims2()?;
        let n_past = self.len();
        if n_past + pos > self.n_ctx {
            return Err(Error::PromptTooLong { n_positions: n_past + pos, n_ctx: self.n_ctx });
        }
        if !self.mask.is_empty() && self.mask.len() != n {
            return Err(Error::InputShape {
                what: "tokens",
                got: vec![n, pos],
                want: format!("{} prompts, as the key/value cache holds", self.mask.len()),
            });
        }
        self.mask.resize(n, Vec::new());
        let new = match batch.mask() {
            Some(mask) => mask.to_vec2::<u8>()?,
            None => vec![vec![1; pos]; n],
        };
        self.mask.iter_mut().zip(new).for_each(|(row, new)| row.extend(new));
        let all_seen = self.mask.iter().flatten().all(|v| *v != 0);
        Ok(Visible { n_past, keys: (!all_seen).then(|| self.mask.clone()) })
    }

    /// Append new keys and values of a layer; all of them come back.
    pub(crate) fn append(
        &mut self,
        layer: u16,
        k: &Tensor,
        v: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        Ok(self.layers[usize::from(layer)].append(&k.contiguous()?, &v.contiguous()?)?)
    }
}
