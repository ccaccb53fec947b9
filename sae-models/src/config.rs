//! `DecoderConfig`: the axes on which decoders differ.

use sae_core::model::ModelSpec;
use sae_core::ops::{Activation, Centre};

/// Everything about a decoder besides its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Name, depth and widths.
    pub spec: ModelSpec,
    /// How norms centre.
    pub norm: Centre,
    /// Added to the mean square inside norms.
    pub norm_eps: f64,
    /// Activation function of the MLP.
    pub activation: Activation,
    /// What attention scores are divided by, per layer.
    pub attn_scale: Vec<f64>,
}
