//! Which SAE is trained, and by which losses.

use sae_core::sae::{self, Architecture, MatchingPursuit};
use serde_json::{Map, Value, json};

use crate::recipe::{
    Activation, BatchTopK, By, Gated, JumpRelu, Matryoshka, Pursuit, Recipe, Sparsity, Standard,
    TopK,
};

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
    /// `activation(x W_enc + b_enc)` with an L1 penalty.
    Standard {
        /// What makes latents of pre-activations.
        activation: Activation,
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
        /// What they are largest in; magnitude is SAELens' `abstopk`.
        by: By,
        /// Choose by pre-activation times decoder norm.
        rescale_acts_by_decoder_norm: bool,
        /// Weight of the auxiliary loss.
        aux_loss_coefficient: f64,
        /// Whether the auxiliary reconstruction includes `b_dec`.
        aux_with_bias: bool,
    },
    /// The largest pre-activations of a batch.
    BatchTopK {
        /// Latents kept per row, on the mean over the batch.
        k: f64,
        /// Share of a batch's smallest latent in the threshold after it.
        topk_threshold_lr: f64,
        /// Choose by pre-activation times decoder norm.
        rescale_acts_by_decoder_norm: bool,
        /// Weight of the auxiliary loss.
        aux_loss_coefficient: f64,
        /// Nested SAEs: SAELens' `matryoshka_batchtopk`.
        nested: Option<Nested>,
    },
    /// Latents chosen one after another.
    MatchingPursuit(MatchingPursuit),
}

/// The SAEs inside a Matryoshka SAE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested {
    /// Their widths, rising; the last is all latents.
    pub widths: Vec<usize>,
    /// Dead latents learn what their own level leaves.
    pub own_aux_loss: bool,
}

impl RecipeConfig {
    /// The recipe.
    pub fn build(&self, apply_b_dec_to_input: bool) -> Box<dyn Recipe> {
        match self.clone() {
            Self::Standard { activation, lp_norm, scale_by_decoder_norm, ghost_grads } => {
                Box::new(Standard {
                    activation,
                    lp_norm,
                    scale_by_decoder_norm,
                    ghost_grads,
                    apply_b_dec_to_input,
                })
            }
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
            Self::TopK {
                k,
                by,
                rescale_acts_by_decoder_norm,
                aux_loss_coefficient,
                aux_with_bias,
            } => Box::new(TopK {
                k,
                by,
                rescale_acts_by_decoder_norm,
                aux_loss_coefficient,
                aux_with_bias,
                apply_b_dec_to_input,
            }),
            Self::BatchTopK {
                k,
                topk_threshold_lr,
                rescale_acts_by_decoder_norm,
                aux_loss_coefficient,
                nested,
            } => {
                let base = BatchTopK {
                    k,
                    topk_threshold_lr,
                    rescale_acts_by_decoder_norm,
                    aux_loss_coefficient,
                    apply_b_dec_to_input,
                };
                match nested {
                    None => Box::new(base),
                    Some(Nested { widths, own_aux_loss }) => {
                        Box::new(Matryoshka { base, widths, own_aux_loss })
                    }
                }
            }
            Self::MatchingPursuit(stop) => Box::new(Pursuit { stop, apply_b_dec_to_input }),
        }
    }

    /// The architecture as it is trained, which inference may have under another name.
    pub fn architecture(&self) -> Architecture {
        match self.clone() {
            Self::Standard { activation: Activation::TopK { k }, .. } => {
                Architecture::TopK { k, rescale_acts_by_decoder_norm: false }
            }
            Self::Standard { activation, .. } => {
                Architecture::Standard { tanh: activation == Activation::TanhRelu }
            }
            Self::Gated => Architecture::Gated,
            Self::JumpRelu { .. } => Architecture::JumpRelu,
            Self::BatchTopK { k, rescale_acts_by_decoder_norm, nested, .. } => {
                Architecture::BatchTopK(sae::BatchTopK {
                    k,
                    rescale_acts_by_decoder_norm,
                    matryoshka_widths: nested.map(|nested| nested.widths).unwrap_or_default(),
                })
            }
            Self::TopK { k, by, rescale_acts_by_decoder_norm, .. } => match by {
                By::Value => Architecture::TopK { k, rescale_acts_by_decoder_norm },
                By::Magnitude => Architecture::AbsTopK { k, rescale_acts_by_decoder_norm },
            },
            Self::MatchingPursuit(stop) => Architecture::MatchingPursuit(stop),
        }
    }

    /// Whether latents are rescaled by decoder norms.
    pub(crate) fn rescales(&self) -> bool {
        match self {
            Self::TopK { rescale_acts_by_decoder_norm: rescales, .. }
            | Self::BatchTopK { rescale_acts_by_decoder_norm: rescales, .. } => *rescales,
            _ => false,
        }
    }

    /// Its numbers under SAELens' names.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        let fields = match self {
            Self::Standard { lp_norm, .. } => json!({ "lp_norm": lp_norm }),
            Self::Gated => json!({}),
            Self::JumpRelu {
                sparsity,
                bandwidth,
                ste_to_input,
                pre_act_loss_coefficient,
                init_threshold,
                ..
            } => json!({
                "jumprelu_init_threshold": init_threshold,
                "jumprelu_bandwidth": bandwidth,
                "jumprelu_sparsity_loss_mode": match sparsity {
                    Sparsity::Step => "step",
                    Sparsity::Quadratic { .. } => "quadratic",
                    Sparsity::Tanh { .. } => "tanh",
                },
                "target_l0": match sparsity {
                    Sparsity::Quadratic { target_l0 } => Some(target_l0),
                    _ => None,
                },
                "jumprelu_tanh_scale": match sparsity {
                    Sparsity::Tanh { scale } => *scale,
                    _ => 4.0,
                },
                "jumprelu_ste_to_input": ste_to_input,
                "pre_act_loss_coefficient": pre_act_loss_coefficient,
            }),
            Self::TopK { k, rescale_acts_by_decoder_norm, aux_loss_coefficient, .. } => json!({
                "k": k,
                "rescale_acts_by_decoder_norm": rescale_acts_by_decoder_norm,
                "aux_loss_coefficient": aux_loss_coefficient,
                "use_sparse_activations": false,
            }),
            Self::BatchTopK {
                k,
                topk_threshold_lr,
                rescale_acts_by_decoder_norm,
                aux_loss_coefficient,
                nested,
            } => {
                let mut fields = json!({
                    "k": k,
                    "topk_threshold_lr": topk_threshold_lr,
                    "rescale_acts_by_decoder_norm": rescale_acts_by_decoder_norm,
                    "aux_loss_coefficient": aux_loss_coefficient,
                    "use_sparse_activations": false,
                });
                if let Some(nested) = nested {
                    fields["matryoshka_widths"] = json!(nested.widths);
                    fields["use_matryoshka_aux_loss"] = json!(nested.own_aux_loss);
                }
                fields
            }
            Self::MatchingPursuit(stop) => json!({
                "residual_threshold": stop.residual_threshold,
                "max_iterations": stop.max_iterations,
                "stop_on_duplicate_support": stop.stop_on_duplicate_support,
            }),
        };
        fields.as_object().cloned().unwrap_or_default()
    }
}

#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn narrow(x: f64) -> f32 {
    x as f32
}
