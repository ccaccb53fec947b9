//! The weights of a decoder, in the layout in which they are multiplied.

use candle_core::Tensor;

use crate::embed::Embed;
use crate::linear::Linear;
use crate::unembed::Unembed;

/// Gain and bias of a norm, until they are folded into what reads it.
#[derive(Clone, Debug, Default)]
pub(crate) enum NormWeights {
    /// `[d_model]` each; an RMS norm has no bias.
    Affine { gain: Tensor, bias: Option<Tensor> },
    /// Folded away (`LNPre`, `RMSPre`).
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
    /// Gains of the norms of each head of queries and keys, `[d_head]`.
    pub(crate) qk_norms: Option<QkNorms>,
    /// `W_O`: `[n_heads d_head, d_model]`
    pub(crate) attn_out: Linear,
    /// Norm of what attention adds.
    pub(crate) ln1_post: Option<NormWeights>,
    pub(crate) ln2: NormWeights,
    /// `None` in models of attention alone.
    pub(crate) mlp: Option<Mlp>,
    /// Norm of what the MLP adds.
    pub(crate) ln2_post: Option<NormWeights>,
}

/// Norms of the heads of queries and of keys.
#[derive(Clone, Debug)]
pub(crate) struct QkNorms {
    pub(crate) q: NormWeights,
    pub(crate) k: NormWeights,
}

/// The maps of an MLP.
#[derive(Clone, Debug)]
pub(crate) struct Mlp {
    /// `W_gate`: `[d_model, d_mlp]`, what the activation function reads where there is one.
    pub(crate) gate: Option<Linear>,
    /// `W_in`: `[d_model, d_mlp]`
    pub(crate) input: Linear,
    /// Norm of what a SoLU leaves.
    pub(crate) norm: Option<NormWeights>,
    /// `W_out`: `[d_mlp, d_model]`
    pub(crate) output: Linear,
}

/// All of them. Tensors are shared, not copied, when this is cloned.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    pub(crate) embed: Embed,
    pub(crate) blocks: Vec<Block>,
    pub(crate) unembed: Unembed,
}
