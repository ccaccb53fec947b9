//! `SaeSpec`: what is known of an SAE besides its weights.

use serde_json::{Map, Value};

use crate::hook::HookName;

/// Which function makes latents from pre-activations, with what it needs to know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Architecture {
    /// `ReLU(x W_enc + b_enc)`.
    Standard {
        /// The tanh of the ReLU, as the standard SAEs of 2024 could have it.
        tanh: bool,
    },
    /// Separate gate and magnitude paths (arXiv 2404.16014).
    Gated,
    /// The `k` largest pre-activations of each row (arXiv 2406.04093).
    TopK {
        /// Latents kept per row.
        k: usize,
        /// Choose by pre-activation times decoder norm, and divide by it in decode.
        rescale_acts_by_decoder_norm: bool,
    },
    /// Pre-activations above a threshold per latent (arXiv 2407.14435).
    JumpRelu,
}

impl Architecture {
    /// The name SAELens gives it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Standard { .. } => "standard",
            Self::Gated => "gated",
            Self::TopK { .. } => "topk",
            Self::JumpRelu => "jumprelu",
        }
    }

    /// The names of all architectures that can be loaded.
    pub const NAMES: [&'static str; 4] = ["standard", "gated", "topk", "jumprelu"];
}

/// What is done to activations before the SAE sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalize {
    /// Nothing.
    #[default]
    None,
    /// The trainer scaled them; nothing at run time.
    ExpectedAverageOnlyIn,
    /// The trainer whitened them; nothing at run time.
    CovarianceWhitening,
    /// Each vector to norm `sqrt(d_in)`, undone after decoding.
    ConstantNormRescale,
    /// Each vector to mean 0 and standard deviation 1, undone after decoding.
    LayerNorm,
}

impl Normalize {
    /// Every mode.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::ExpectedAverageOnlyIn,
        Self::CovarianceWhitening,
        Self::ConstantNormRescale,
        Self::LayerNorm,
    ];

    /// The name SAELens gives it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ExpectedAverageOnlyIn => "expected_average_only_in",
            Self::CovarianceWhitening => "covariance_whitening",
            Self::ConstantNormRescale => "constant_norm_rescale",
            Self::LayerNorm => "layer_norm",
        }
    }
}

/// How activations are reshaped before the SAE sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reshape {
    /// Not at all.
    #[default]
    None,
    /// `[.., n_heads, d_head]` is flattened, and given back after decoding.
    HookZ,
}

impl Reshape {
    /// The name SAELens gives it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::HookZ => "hook_z",
        }
    }
}

/// What is known of an SAE besides its weights: the content of its `cfg.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct SaeSpec {
    /// How latents are made.
    pub architecture: Architecture,
    /// Width of the input, heads flattened.
    pub d_in: usize,
    /// Number of latents.
    pub d_sae: usize,
    /// Subtract `b_dec` from the input.
    pub apply_b_dec_to_input: bool,
    /// What is done to activations first.
    pub normalize_activations: Normalize,
    /// How activations are reshaped first.
    pub reshape_activations: Reshape,
    /// The hook it was trained on, when the file says.
    pub hook: Option<HookName>,
    /// Everything else that the file says about model, dataset and training.
    pub metadata: Map<String, Value>,
}

impl SaeSpec {
    /// A spec with SAELens' defaults and nothing known of model and training.
    pub fn new(architecture: Architecture, d_in: usize, d_sae: usize) -> Self {
        Self {
            architecture,
            d_in,
            d_sae,
            apply_b_dec_to_input: true,
            normalize_activations: Normalize::None,
            reshape_activations: Reshape::None,
            hook: None,
            metadata: Map::new(),
        }
    }

    /// The same spec at a hook.
    #[must_use]
    pub fn at(mut self, hook: HookName) -> Self {
        self.metadata.insert("hook_name".to_owned(), Value::from(hook.to_string()));
        self.hook = Some(hook);
        self
    }
}
