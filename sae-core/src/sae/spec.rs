//! `SaeSpec`: what is known of an SAE besides its weights.

use serde_json::{Map, Value};

use crate::Error;
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
    /// The `k` pre-activations of each row that are largest in magnitude, signs kept
    /// (arXiv 2510.00404).
    AbsTopK {
        /// Latents kept per row.
        k: usize,
        /// Choose by pre-activation times decoder norm, and divide by it in decode.
        rescale_acts_by_decoder_norm: bool,
    },
    /// The largest pre-activations of a whole batch together, nested or not: what a training checkpoint
    /// holds. For inference it becomes [`Architecture::JumpRelu`].
    BatchTopK(BatchTopK),
    /// Pre-activations above a threshold per latent (arXiv 2407.14435).
    JumpRelu,
    /// Latents chosen greedily, one after another, by what is left of the input.
    MatchingPursuit(MatchingPursuit),
    /// What the positions before predict, and what is new (arXiv 2511.01836).
    Temporal(Temporal),
}

/// How many latents a batch keeps (arXiv 2412.06410).
#[derive(Clone, Debug, PartialEq)]
pub struct BatchTopK {
    /// Latents kept per row, on average over the batch.
    pub k: f64,
    /// Choose by pre-activation times decoder norm, and divide by it in decode.
    pub rescale_acts_by_decoder_norm: bool,
    /// Numbers of latents of the nested dictionaries, the last of them `d_sae` (Matryoshka, arXiv
    /// 2503.17547); empty without nesting. Encoding is the same.
    pub matryoshka_widths: Vec<usize>,
}

/// When matching pursuit stops.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchingPursuit {
    /// A row is done when so little is left of it; 0 for never.
    pub residual_threshold: f64,
    /// Latents chosen per row, at most; `d_in` when nothing is said.
    pub max_iterations: Option<usize>,
    /// A row is done when no new latent was chosen.
    pub stop_on_duplicate_support: bool,
}

/// The attention of a temporal SAE, and how it makes latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Temporal {
    /// Heads of each attention layer.
    pub n_heads: usize,
    /// Attention layers.
    pub n_attn_layers: usize,
    /// Queries and keys are `d_sae / bottleneck_factor` wide.
    pub bottleneck_factor: usize,
    /// Only the largest latents are kept (`sae_diff_type` is `topk`).
    pub top_k: bool,
    /// How many.
    pub kval_topk: Option<usize>,
    /// `W_enc` is the transpose of `W_dec`.
    pub tied_weights: bool,
    /// What inputs are multiplied by, and outputs divided by (`constant_scalar_rescale`).
    pub activation_normalization_factor: f64,
}

/// An SAE that reads one place and writes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transcoder {
    /// Width of the output.
    pub d_out: usize,
    /// A linear map of the raw input is added to the output.
    pub skip: bool,
}

impl Architecture {
    /// The name SAELens gives it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Standard { .. } => "standard",
            Self::Gated => "gated",
            Self::TopK { .. } => "topk",
            Self::AbsTopK { .. } => "abstopk",
            Self::BatchTopK(batch) if batch.matryoshka_widths.is_empty() => "batchtopk",
            Self::BatchTopK(_) => "matryoshka_batchtopk",
            Self::JumpRelu => "jumprelu",
            Self::MatchingPursuit(_) => "matching_pursuit",
            Self::Temporal(_) => "temporal",
        }
    }

    /// Whether `hook_sae_acts_pre` fires: latents that follow one another have no one pre-activation.
    pub const fn has_pre_activations(&self) -> bool {
        !matches!(self, Self::MatchingPursuit(_))
    }

    /// Choose latents by pre-activation times decoder norm, where the architecture has the choice.
    pub(crate) fn rescale_mut(&mut self) -> Option<&mut bool> {
        match self {
            Self::TopK { rescale_acts_by_decoder_norm: rescale, .. }
            | Self::AbsTopK { rescale_acts_by_decoder_norm: rescale, .. }
            | Self::BatchTopK(BatchTopK { rescale_acts_by_decoder_norm: rescale, .. }) => {
                Some(rescale)
            }
            _ => None,
        }
    }

    /// The names of all architectures that can be loaded.
    pub const NAMES: [&'static str; 13] = [
        "standard",
        "gated",
        "topk",
        "abstopk",
        "batchtopk",
        "matryoshka_batchtopk",
        "jumprelu",
        "matching_pursuit",
        "temporal",
        "transcoder",
        "skip_transcoder",
        "jumprelu_transcoder",
        "jumprelu_skip_transcoder",
    ];
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
    /// Times a constant, undone after decoding (temporal SAEs).
    ConstantScalarRescale,
}

impl Normalize {
    /// Every mode.
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::ExpectedAverageOnlyIn,
        Self::CovarianceWhitening,
        Self::ConstantNormRescale,
        Self::LayerNorm,
        Self::ConstantScalarRescale,
    ];

    /// Whether SAEs of this architecture can have it: scaling by a constant is known of temporal SAEs
    /// alone, and they cannot be whitened.
    pub const fn fits(self, architecture: &Architecture) -> bool {
        let temporal = matches!(architecture, Architecture::Temporal(_));
        match self {
            Self::ConstantScalarRescale => temporal,
            Self::CovarianceWhitening => !temporal,
            _ => true,
        }
    }

    /// Whether the SAE itself does it to every vector, and undoes it.
    pub const fn at_run_time(self) -> bool {
        matches!(self, Self::ConstantNormRescale | Self::LayerNorm | Self::ConstantScalarRescale)
    }

    /// The name SAELens gives it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ExpectedAverageOnlyIn => "expected_average_only_in",
            Self::CovarianceWhitening => "covariance_whitening",
            Self::ConstantNormRescale => "constant_norm_rescale",
            Self::LayerNorm => "layer_norm",
            Self::ConstantScalarRescale => "constant_scalar_rescale",
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
    /// The hook it was trained on, when the file says: the one it reads.
    pub hook: Option<HookName>,
    /// What makes it a transcoder.
    pub transcoder: Option<Transcoder>,
    /// The hook that a transcoder's output stands for, when the file says.
    pub hook_out: Option<HookName>,
    /// Weights of a training run under way: JumpReLU latents do without the ReLU, and
    /// [`to_inference`](crate::arch::to_inference) makes of the SAE what SAELens would save.
    pub training: bool,
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
            transcoder: None,
            hook_out: None,
            training: false,
            metadata: Map::new(),
        }
    }

    /// The error of a normalisation that the architecture cannot have.
    pub(crate) fn misfit(&self) -> Error {
        let mode = self.normalize_activations.as_str();
        Error::NormalizeMisfit { mode, architecture: self.architecture.as_str() }
    }

    /// Whether this is what inference uses, not the checkpoint of a training run.
    pub fn is_for_inference(&self) -> bool {
        !self.training && !matches!(self.architecture, Architecture::BatchTopK(_))
    }

    /// Width of the output, heads flattened.
    pub fn d_out(&self) -> usize {
        self.transcoder.map_or(self.d_in, |transcoder| transcoder.d_out)
    }

    /// The name SAELens gives the architecture.
    pub fn architecture_name(&self) -> &'static str {
        match (&self.architecture, self.transcoder) {
            (Architecture::JumpRelu, Some(Transcoder { skip: true, .. })) => {
                "jumprelu_skip_transcoder"
            }
            (Architecture::JumpRelu, Some(_)) => "jumprelu_transcoder",
            (_, Some(Transcoder { skip: true, .. })) => "skip_transcoder",
            (_, Some(_)) => "transcoder",
            (architecture, None) => architecture.as_str(),
        }
    }

    /// The hook whose value the SAE's output stands for.
    pub fn splice_at(&self) -> Option<HookName> {
        if self.transcoder.is_some() { self.hook_out } else { self.hook }
    }

    /// The same spec at a hook.
    #[must_use]
    pub fn at(mut self, hook: HookName) -> Self {
        self.metadata.insert("hook_name".to_owned(), Value::from(hook.to_string()));
        self.hook = Some(hook);
        self
    }
}
