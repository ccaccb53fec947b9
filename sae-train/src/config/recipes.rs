//! The part of a configuration that says which SAE is trained and by which losses.

use sae_core::sae::{Architecture, Normalize};
use serde_json::Value;

use super::reader::Reader;
use crate::recipe::{Gated, JumpRelu, Recipe, Sparsity, Standard, TopK};

/// Whose rules a configuration follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// SAELens 4.0.10, of October 2024: the penalty always weighs by decoder norms.
    V4,
    /// SAELens 5.9.
    V5,
    /// SAELens 6.
    V6,
}

/// Losses and their numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum RecipeConfig {
    /// `ReLU(x W_enc + b_enc)` with an L1 penalty.
    Standard {
        /// The `p` of the penalty's norm.
        lp_norm: f64,
        /// Whether the penalty weighs latents by their decoder norms.
        scale_by_decoder_norm: bool,
        /// Whether dead latents get ghost gradients.
        ghost_grads: bool,
    },
    /// Separate gate and magnitude paths.
    Gated,
    /// Latents above a threshold of their own.
    JumpRelu {
        /// What is penalised.
        sparsity: Sparsity,
        /// Width of the kernel around the threshold.
        bandwidth: f64,
        /// Whether the kernel also passes gradients to pre-activations.
        ste_to_input: bool,
        /// Weight of the loss of dead latents.
        pre_act_loss_coefficient: Option<f64>,
        /// The trained tensor is the logarithm of the threshold.
        log_threshold: bool,
        /// Where thresholds begin.
        init_threshold: f64,
    },
    /// The `k` largest pre-activations.
    TopK {
        /// Latents kept per row.
        k: usize,
        /// Choose by pre-activation times decoder norm.
        rescale_acts_by_decoder_norm: bool,
        /// Weight of the auxiliary loss.
        aux_loss_coefficient: f64,
        /// Whether the auxiliary reconstruction includes `b_dec`.
        aux_with_bias: bool,
    },
}

/// Fields of standard SAEs that configurations of the time have for every architecture.
const LEGACY: [&str; 3] = ["lp_norm", "scale_sparsity_penalty_by_decoder_norm", "use_ghost_grads"];

impl RecipeConfig {
    /// SAELens' default, and the only recipes that are built.
    const NAMES: [&'static str; 4] = ["standard", "gated", "topk", "jumprelu"];

    /// The recipe.
    pub fn build(&self, apply_b_dec_to_input: bool) -> Box<dyn Recipe> {
        match *self {
            Self::Standard { lp_norm, scale_by_decoder_norm, ghost_grads } => Box::new(Standard {
                lp_norm,
                scale_by_decoder_norm,
                ghost_grads,
                apply_b_dec_to_input,
            }),
            Self::Gated => Box::new(Gated { apply_b_dec_to_input }),
            Self::JumpRelu {
                sparsity,
                bandwidth,
                ste_to_input,
                pre_act_loss_coefficient,
                log_threshold,
                init_threshold,
            } => Box::new(JumpRelu {
                sparsity,
                bandwidth: narrow(bandwidth),
                ste_to_input,
                pre_act_loss_coefficient,
                log_threshold,
                init_threshold: narrow(init_threshold),
                apply_b_dec_to_input,
            }),
            Self::TopK { k, rescale_acts_by_decoder_norm, aux_loss_coefficient, aux_with_bias } => {
                Box::new(TopK {
                    k,
                    rescale_acts_by_decoder_norm,
                    aux_loss_coefficient,
                    aux_with_bias,
                    apply_b_dec_to_input,
                })
            }
        }
    }

    /// The architecture that is saved for inference.
    pub fn architecture(&self) -> Architecture {
        match *self {
            Self::Standard { .. } => Architecture::Standard { tanh: false },
            Self::Gated => Architecture::Gated,
            Self::JumpRelu { .. } => Architecture::JumpRelu,
            Self::TopK { k, rescale_acts_by_decoder_norm, .. } => {
                Architecture::TopK { k, rescale_acts_by_decoder_norm }
            }
        }
    }

    pub(crate) fn read(fields: &mut Reader<'_>, architecture: &str, era: Era) -> Option<Self> {
        let activation = match era {
            Era::V6 => None,
            _ => fields.text("activation_fn").or_else(|| fields.text("activation_fn_str")),
        };
        let topk = activation == Some("topk");
        let known = |a: &str| matches!(a, "relu" | "topk");
        if let Some(other) = activation.filter(|a| !known(a)) {
            fields.problem("activation_fn", format_args!("is `{other}`, expected relu or topk"));
        }
        match architecture {
            "topk" => Self::read_topk(fields, era),
            "standard" if topk => Self::read_topk(fields, era),
            "standard" => {
                let lp_norm = fields.number("lp_norm").unwrap_or(1.0);
                if lp_norm <= 0.0 {
                    fields.problem("lp_norm", format_args!("is {lp_norm}, expected more than 0"));
                }
                let scale_by_decoder_norm = match era {
                    Era::V6 => true,
                    Era::V5 => fields.flag("scale_sparsity_penalty_by_decoder_norm", false),
                    Era::V4 => {
                        fields.get("scale_sparsity_penalty_by_decoder_norm");
                        true
                    }
                };
                let ghost_grads = era != Era::V6 && fields.flag("use_ghost_grads", false);
                Some(Self::Standard { lp_norm, scale_by_decoder_norm, ghost_grads })
            }
            "jumprelu" => Some(Self::read_jumprelu(fields, era)),
            "gated" => {
                for field in LEGACY {
                    fields.get(field); // part of every configuration of the time
                }
                Some(Self::Gated)
            }
            other => {
                let names = Self::NAMES.join(", ");
                fields.problem("architecture", format_args!("is `{other}`, expected {names}"));
                None
            }
        }
    }

    fn read_jumprelu(fields: &mut Reader<'_>, era: Era) -> Self {
        let current = era == Era::V6;
        if !current {
            for field in LEGACY {
                fields.get(field); // part of every configuration of the time
            }
        }
        let default = if current { (0.05, 0.01) } else { (0.001, 0.001) };
        let bandwidth = fields.amount("jumprelu_bandwidth", default.0);
        if bandwidth <= 0.0 {
            fields.problem("jumprelu_bandwidth", "must be above 0");
        }
        let mode = if current { fields.text("jumprelu_sparsity_loss_mode") } else { None };
        let target_l0 = if current { fields.number("target_l0") } else { None };
        let scale = if current { fields.amount("jumprelu_tanh_scale", 4.0) } else { 4.0 };
        let sparsity = match (mode.unwrap_or("step"), target_l0) {
            ("step", _) => Sparsity::Step,
            ("tanh", _) => Sparsity::Tanh { scale },
            ("quadratic", Some(target_l0)) if target_l0 > 0.0 => Sparsity::Quadratic { target_l0 },
            ("quadratic", _) => {
                fields.problem("target_l0", "must be above 0 in mode `quadratic`");
                Sparsity::Step
            }
            (other, _) => {
                let want = "expected step, tanh or quadratic";
                let field = "jumprelu_sparsity_loss_mode";
                fields.problem(field, format_args!("is `{other}`, {want}"));
                Sparsity::Step
            }
        };
        Self::JumpRelu {
            sparsity,
            bandwidth,
            ste_to_input: current && fields.flag("jumprelu_ste_to_input", false),
            pre_act_loss_coefficient: fields.number("pre_act_loss_coefficient"),
            log_threshold: !current,
            init_threshold: fields.amount("jumprelu_init_threshold", default.1),
        }
    }

    fn read_topk(fields: &mut Reader<'_>, era: Era) -> Option<Self> {
        if era != Era::V6 {
            for field in LEGACY {
                fields.get(field); // part of every configuration of the time
            }
        }
        let k = match era {
            Era::V6 => Some(fields.positive("k", 100)),
            _ => {
                let kwargs = fields.get("activation_fn_kwargs");
                let k = kwargs.and_then(|v| v.get("k")).and_then(Value::as_u64).filter(|k| *k > 0);
                if k.is_none() {
                    fields.problem("activation_fn_kwargs", "needs `k`, a whole number above 0");
                }
                k
            }
        };
        let current = era == Era::V6;
        Some(Self::TopK {
            k: usize::try_from(k?).ok()?,
            rescale_acts_by_decoder_norm: current
                && fields.flag("rescale_acts_by_decoder_norm", true),
            aux_loss_coefficient: if current {
                fields.amount("aux_loss_coefficient", 1.0)
            } else {
                1.0
            },
            aux_with_bias: !current,
        })
    }
}

pub(crate) fn normalize(fields: &mut Reader<'_>) -> Normalize {
    let choices: Vec<(&str, Normalize)> = [
        Normalize::None,
        Normalize::ExpectedAverageOnlyIn,
        Normalize::CovarianceWhitening,
        Normalize::ConstantNormRescale,
        Normalize::LayerNorm,
    ]
    .into_iter()
    .map(|mode| (mode.as_str(), mode))
    .collect();
    // Configurations of early 2024 say true and false.
    match fields.get("normalize_activations") {
        Some(Value::Bool(true)) => Normalize::ExpectedAverageOnlyIn,
        Some(Value::Bool(false)) => Normalize::None,
        _ => fields.choice("normalize_activations", &choices, Normalize::None),
    }
}

#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn narrow(x: f64) -> f32 {
    x as f32
}
