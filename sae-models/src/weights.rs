//! The weights of a decoder, in the layout in which they are multiplied.

use candle_core::Tensor;
use sae_core::ops::Linear;

use crate::embed::Embed;
use crate::unembed::Unembed;

/// Gain and bias of a norm, until they are folded into what reads it.
#[derive(Clone, Debug, Default)]
pub(crate) enum NormWeights {
    /// `[d_model]` each.
    Affine { gain: Tensor, bias: Tensor },
    /// Folded away (`LNPre`).
    #[default]
    Folded,
}

/// One block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) ln1: NormWeights,
    /// `[d_model, (n_heads + 2 n_key_value_heads) d_head]`: queries, keys, values side by side,
    /// heads outermost within each.
    pub(crate) qkv: Linear,
    /// `W_O`: `[n_heads d_head, d_model]`
    pub(crate) attn_out: Linear,
    pub(crate) ln2: NormWeights,
    /// `W_in`: `[d_model, d_mlp]`
    pub(crate) mlp_in: Linear,
    /// `W_out`: `[d_mlp, d_model]`
    pub(crate) mlp_out: Linear,
}

/// All of them. Tensors are shared, not copied, when this is cloned.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    pub(crate) embed: Embed,
    pub(crate) blocks: Vec<Block>,
    pub(crate) unembed: Unembed,
    /// Columns of `qkv` that are values.
    pub(crate) n_value_columns: usize,
}
