//! `DecoderConfig`: the axes on which decoders differ.

use sae_core::model::ModelSpec;
use sae_core::ops::{Activation, Centre};

use crate::rotary::Rotary;

/// Everything about a decoder besides its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Name, depth and widths.
    pub spec: ModelSpec,
    /// How norms centre.
    pub norm: Centre,
    /// Added to the mean square inside norms.
    pub norm_eps: f64,
    /// Attention and MLP both read the block's input; otherwise the MLP reads what attention left.
    pub parallel: bool,
    /// Activation function of the MLP.
    pub activation: MlpActivation,
    /// Blocks have no MLP.
    pub attn_only: bool,
    /// How the norm before the unembedding centres.
    pub final_norm: Centre,
    /// Learned positions are added to what queries and keys read, not to the residual stream
    /// (Press et al. 2021, Shortformer).
    pub shortformer: bool,
    /// The MLP multiplies its activations by a second, linear branch.
    pub gated_mlp: bool,
    /// Queries and keys are normalised head by head before they are rotated.
    pub qk_norm: bool,
    /// Norms after attention and MLP, before what they add.
    pub post_norms: bool,
    /// Rotation of queries and keys; without it positions are learned.
    pub rotary: Option<Rotary>,
    /// Attention, layer by layer.
    pub attention: Vec<LayerAttention>,
    /// Attention scores become `cap tanh(score / cap)`.
    pub score_cap: Option<f64>,
    /// Logits become `cap tanh(logit / cap)`.
    pub logit_cap: Option<f64>,
    /// TransformerLens holds keys and values of this model by key/value head (`_W_K`, `_W_V`).
    pub grouped_query: bool,
}

/// What an MLP makes of its pre-activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MlpActivation {
    /// A function of each value alone.
    Pointwise(Activation),
    /// `x softmax(x)` over the width of the MLP (Elhage et al. 2022, Softmax Linear Units).
    Solu {
        /// A LayerNorm follows (TransformerLens' `solu_ln`).
        normed: bool,
    },
}

impl From<Activation> for MlpActivation {
    fn from(activation: Activation) -> Self {
        Self::Pointwise(activation)
    }
}

/// What differs between the attention of two layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerAttention {
    /// What scores are divided by.
    pub scale: f64,
    /// A query sees so many keys, its own position included; `None`: all before it.
    pub window: Option<usize>,
    /// Which of [`Rotary::frequencies`].
    pub rotation: usize,
}

impl DecoderConfig {
    /// A serial block with a plain MLP and learned positions; the rest is for the family to set.
    pub(crate) fn new(
        spec: ModelSpec,
        (norm, norm_eps): (Centre, f64),
        activation: Activation,
        attention: Vec<LayerAttention>,
    ) -> Self {
        Self {
            spec,
            norm,
            norm_eps,
            parallel: false,
            activation: activation.into(),
            attn_only: false,
            final_norm: norm,
            shortformer: false,
            gated_mlp: false,
            qk_norm: false,
            post_norms: false,
            rotary: None,
            attention,
            score_cap: None,
            logit_cap: None,
            grouped_query: false,
        }
    }

    /// Key/value heads that hooks show: one per head when they are ungrouped.
    pub(crate) fn shown_kv_heads(&self, ungrouped: bool) -> usize {
        if ungrouped { self.spec.n_heads } else { self.spec.n_key_value_heads }
    }
}
