//! `Stack`: labelled parts of a residual stream.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::PosSlice;

/// Parts of a residual stream, one after the other.
#[derive(Clone, Debug)]
pub struct Stack {
    /// `[part, batch, pos, d_model]`
    pub components: Tensor,
    /// What each is, as TransformerLens calls it: `embed`, `0_attn_out`, `L1H3`, ...
    pub labels: Vec<String>,
}

impl Stack {
    pub(super) fn new(parts: Vec<(String, Tensor)>) -> Result<Self> {
        let (labels, tensors): (Vec<String>, Vec<Tensor>) = parts.into_iter().unzip();
        Ok(Self { components: Tensor::stack(&tensors, 0)?, labels })
    }
}

/// Which residual stream, and how it is shown.
#[derive(Clone, Debug, Default)]
pub struct StackOptions {
    /// The stream that this layer reads; `None`: that which the unembedding reads.
    pub layer: Option<u16>,
    /// The stream that the layer's MLP reads, rather than its attention.
    pub mlp_input: bool,
    /// Scale the parts as the norm that reads their sum: see [`super::CachedRun::apply_ln_to_stack`].
    pub apply_ln: bool,
    /// Which positions.
    pub pos_slice: PosSlice,
}
