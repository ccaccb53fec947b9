//! JumpReLU (arXiv 2407.14435): latents above a threshold of their own, which straight-through kernels
//! train: squared error, and a penalty on the number of active latents.

use sae_core::ops::{ByLatent, dots_at, encode_rows};
use sae_core::sae::Codes;

use super::backward::{Backward, dense, operands};
use super::pre_act;
use super::sparsity::Penalty;
use super::{Pass, Recipe, StepContext};
use crate::params::{Params, row_norms};
use crate::residual::reconstruct;
use crate::rows::Rows;

/// What is penalised of each row's latents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sparsity {
    /// How many are active.
    Step,
    /// `2 / T (active - T)^2` for a target `T`.
    Quadratic {
        /// The target.
        target_l0: f64,
    },
    /// `sum tanh(c f ||W_dec||)`
    Tanh {
        /// The scale `c`.
        scale: f64,
    },
}

/// The JumpReLU architecture.
#[derive(Clone, Debug)]
pub struct JumpRelu {
    /// What is penalised.
    pub sparsity: Sparsity,
    /// Width of the kernel around the threshold.
    pub bandwidth: f32,
    /// Whether the kernel also passes gradients to pre-activations.
    pub ste_to_input: bool,
    /// Weight of the loss that pulls dead latents up to their thresholds.
    pub pre_act_loss_coefficient: Option<f64>,
    /// The trained tensor is the logarithm of the threshold (SAELens up to 6.18).
    pub log_threshold: bool,
    /// Where thresholds begin.
    pub init_threshold: f32,
    /// Whether the encoder sees `x - b_dec`.
    pub apply_b_dec_to_input: bool,
}

/// Pre-activations that are active or within the kernel, entry by entry.
struct Near {
    pre: Codes,
    /// `f`, zero where the latent is not active.
    acts: Vec<f32>,
    /// Whether the kernel reaches.
    inside: Vec<bool>,
}

impl Recipe for JumpRelu {
    fn name(&self) -> &'static str {
        "jumprelu"
    }

    fn per_latent(&self) -> &'static [&'static str] {
        if self.log_threshold { &["b_enc", "log_threshold"] } else { &["b_enc", "threshold"] }
    }

    fn coefficient(&self) -> Option<&'static str> {
        Some("l0")
    }

    fn apply_b_dec_to_input(&self) -> bool {
        self.apply_b_dec_to_input
    }

    fn initial(&self, name: &str) -> f32 {
        match name {
            "threshold" => self.init_threshold,
            "log_threshold" => self.init_threshold.ln(),
            _ => 0.0,
        }
    }

    fn prepare(&self, params: &mut Params) {
        if !self.log_threshold {
            // Below zero a threshold would let negative latents through.
            params.latent_mut(1).iter_mut().for_each(|t| *t = t.max(0.0));
        }
    }

    fn pass(
        &self,
        params: &Params,
        rows: &Rows<'_>,
        context: StepContext<'_>,
        grads: &mut Params,
    ) -> Pass {
        let thresholds = self.thresholds(params);
        let near = self.near(params, rows, &thresholds);
        let codes = near.pre.clone().replace(near.acts.clone());
        let residual = reconstruct(&codes, params, rows, context.row_weights);
        let norms = row_norms(&params.w_dec, params.d_in);
        let (l0, count_slope) = self.penalty(&near, &codes, &norms, context.coefficient);

        let mut d_act = dots_at(&codes, &residual.grad, &params.w_dec, params.d_in);
        d_act.iter_mut().zip(&l0.grad).for_each(|(d, l)| *d += l);
        let mut d_pre = vec![0f32; d_act.len()];
        let mut d_threshold = vec![0f32; d_act.len()];
        for e in 0..d_act.len() {
            let theta = thresholds[near.pre.indices()[e] as usize];
            let active = near.pre.values()[e] > theta;
            let kernel = if near.inside[e] { 1.0 / self.bandwidth } else { 0.0 };
            d_pre[e] = if active { d_act[e] } else { 0.0 };
            d_threshold[e] = -kernel * (theta * d_act[e] + count_slope[e]);
            if self.ste_to_input {
                d_pre[e] += kernel * (theta * d_act[e] + count_slope[e]);
            }
        }
        let by = ByLatent::new(&codes);
        let apply_b_dec_to_input = self.apply_b_dec_to_input;
        let back = Backward { params, rows, apply_b_dec_to_input };
        back.decoder(&by, codes.values(), &residual.grad, grads);
        back.bias(&residual.grad, grads);
        l0.add_to_decoder(params, &norms, grads);
        let sums = back.encoder(&by, &d_pre, grads);
        sae_core::ops::vector::add(grads.latent_mut(0), &sums);
        sae_core::ops::vector::add(grads.latent_mut(1), &by.sums(&d_threshold));
        let mut losses = vec![("mse_loss".into(), residual.loss), ("l0_loss".into(), l0.loss)];
        if let Some(coefficient) = self.pre_act_loss_coefficient {
            let dead = context.dead.unwrap_or_default();
            let loss = pre_act::pass(&back, dead, &thresholds, &norms, coefficient, grads);
            losses.push(("pre_act_loss".into(), loss));
        }
        if self.log_threshold {
            let slopes = grads.latent_mut(1).iter_mut().zip(&thresholds);
            slopes.for_each(|(g, theta)| *g *= theta);
        }
        Pass { losses, metrics: Vec::new(), codes: codes.without_zeros(), out: residual.out }
    }

    fn hidden_pre(&self, params: &Params, rows: &Rows<'_>) -> Vec<f32> {
        let [b_enc, _] = params.latent();
        dense(params, rows, |col, h| h.iter_mut().zip(&b_enc[col..]).for_each(|(h, b)| *h += b))
    }
}

impl JumpRelu {
    fn thresholds(&self, params: &Params) -> Vec<f32> {
        let [_, stored] = params.latent();
        if self.log_threshold { stored.iter().map(|t| t.exp()).collect() } else { stored.to_vec() }
    }

    #[allow(clippy::cast_possible_truncation, clippy::neg_cmp_op_on_partial_ord)]
    fn near(&self, params: &Params, rows: &Rows<'_>, thresholds: &[f32]) -> Near {
        let [b_enc, _] = params.latent();
        let within = |h: f32, theta: f32| {
            let u = (h - theta) / self.bandwidth;
            u > -0.5 && u < 0.5
        };
        let pre = match operands(params, rows) {
            Some((x, w)) => encode_rows(x, w, |col, products, kept| {
                for (j, s) in (col..).zip(products.iter()) {
                    let h = s + b_enc[j];
                    if !(h <= thresholds[j]) || within(h, thresholds[j]) {
                        kept.push((j as u32, h));
                    }
                }
            }),
            None => Codes::empty(rows.n, params.d_sae),
        };
        let of = |i: &u32| thresholds[*i as usize];
        let entries = || pre.indices().iter().zip(pre.values());
        let acts = entries().map(|(i, h)| if *h <= of(i) { 0.0 } else { *h }).collect();
        let inside = entries().map(|(i, h)| within(*h, of(i))).collect();
        Near { acts, inside, pre }
    }

    /// The penalty with its gradients, and its slope in the count of active latents, entry by entry.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn penalty(
        &self,
        near: &Near,
        codes: &Codes,
        norms: &[f32],
        coefficient: f64,
    ) -> (Penalty, Vec<f32>) {
        let to_mean = coefficient / codes.rows().max(1) as f64;
        let entries = codes.values().len();
        let mut found =
            Penalty { loss: 0.0, grad: vec![0.0; entries], grad_norms: vec![0.0; norms.len()] };
        let mut slopes = vec![0f32; entries];
        for row in 0..codes.rows() {
            let of = codes.offsets()[row]..codes.offsets()[row + 1];
            let active = near.acts[of.clone()].iter().filter(|f| **f != 0.0).count() as f64;
            let (loss, slope) = match self.sparsity {
                Sparsity::Step => (active, 1.0),
                Sparsity::Quadratic { target_l0: t } => {
                    (2.0 / t * (active - t).powi(2), 4.0 / t * (active - t))
                }
                Sparsity::Tanh { scale } => {
                    let mut sum = 0.0;
                    for e in of.clone() {
                        let i = codes.indices()[e] as usize;
                        let (f, norm) = (f64::from(near.acts[e]), f64::from(norms[i]));
                        let tanh = (scale * f * norm).tanh();
                        let steep = to_mean * (1.0 - tanh * tanh) * scale;
                        sum += tanh;
                        found.grad[e] = (steep * norm) as f32;
                        found.grad_norms[i] += steep * f;
                    }
                    (sum, 0.0)
                }
            };
            found.loss += to_mean * loss;
            slopes[of].fill((to_mean * slope) as f32);
        }
        (found, slopes)
    }
}
