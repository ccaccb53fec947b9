//! Standard: `f = activation(x W_enc + b_enc)`, squared error and an L1 penalty.

use sae_core::ops::{ByLatent, dots_at, encode_best, encode_rows};
use sae_core::sae::Codes;

use super::backward::{Backward, dense, operands};
use super::sparsity::penalty;
use super::{Pass, Recipe, StepContext, ghost};
use crate::params::{Params, row_norms};
use crate::residual::reconstruct;
use crate::rows::Rows;

/// What makes latents of pre-activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `ReLU(h)`
    Relu,
    /// `tanh(ReLU(h))` (SAELens up to 5).
    TanhRelu,
    /// `ReLU` of the `k` largest of each row (SAELens up to 5; its TopK SAEs have another loss).
    TopK {
        /// How many.
        k: usize,
    },
}

/// The standard architecture.
#[derive(Clone, Debug)]
pub struct Standard {
    /// What makes latents of pre-activations.
    pub activation: Activation,
    /// The `p` of the penalty's norm.
    pub lp_norm: f64,
    /// Whether the penalty weighs latents by their decoder norms (SAELens 4 and 6 do).
    pub scale_by_decoder_norm: bool,
    /// Whether dead latents get ghost gradients (SAELens up to 5).
    pub ghost_grads: bool,
    /// Whether the encoder sees `x - b_dec`.
    pub apply_b_dec_to_input: bool,
}

impl Recipe for Standard {
    fn name(&self) -> &'static str {
        "standard"
    }

    fn per_latent(&self) -> &'static [&'static str] {
        &["b_enc"]
    }

    fn coefficient(&self) -> Option<&'static str> {
        Some("l1")
    }

    fn apply_b_dec_to_input(&self) -> bool {
        self.apply_b_dec_to_input
    }

    fn pass(
        &self,
        params: &Params,
        rows: &Rows<'_>,
        context: StepContext<'_>,
        grads: &mut Params,
    ) -> Pass {
        let [b_enc] = params.latent();
        let codes = self.encode(params, rows, b_enc);
        let residual = reconstruct(&codes, params, rows, context.row_weights);
        let norms = self.scale_by_decoder_norm.then(|| row_norms(&params.w_dec, params.d_in));
        let l1 = penalty(&codes, norms.as_deref(), context.coefficient, self.lp_norm);

        let mut slope = dots_at(&codes, &residual.grad, &params.w_dec, params.d_in);
        slope.iter_mut().zip(&l1.grad).for_each(|(s, l)| *s += l);
        if self.activation == Activation::TanhRelu {
            slope.iter_mut().zip(codes.values()).for_each(|(s, f)| *s *= 1.0 - f * f);
        }
        let by = ByLatent::new(&codes);
        let apply_b_dec_to_input = self.apply_b_dec_to_input;
        let back = Backward { params, rows, apply_b_dec_to_input };
        back.decoder(&by, codes.values(), &residual.grad, grads);
        back.bias(&residual.grad, grads);
        if let Some(norms) = &norms {
            l1.add_to_decoder(params, norms, grads);
        }
        let sums = back.encoder(&by, &slope, grads);
        sae_core::ops::vector::add(grads.latent_mut(0), &sums);
        let mut losses = vec![("mse_loss".into(), residual.loss), ("l1_loss".into(), l1.loss)];
        if let (true, Some(dead)) = (self.ghost_grads, context.dead) {
            let loss = ghost::pass(&back, dead, &residual.out, context.row_weights, grads);
            losses.push(("ghost_grad_loss".into(), loss));
        }
        Pass { losses, metrics: Vec::new(), codes, out: residual.out }
    }

    fn hidden_pre(&self, params: &Params, rows: &Rows<'_>) -> Vec<f32> {
        let [b_enc] = params.latent();
        dense(params, rows, |col, h| h.iter_mut().zip(&b_enc[col..]).for_each(|(h, b)| *h += b))
    }
}

impl Standard {
    fn encode(&self, params: &Params, rows: &Rows<'_>, b_enc: &[f32]) -> Codes {
        let Some((x, w)) = operands(params, rows) else {
            return Codes::empty(rows.n, params.d_sae);
        };
        match self.activation {
            Activation::Relu => encode_rows(x, w, positive(b_enc)),
            Activation::TanhRelu => encode_rows(x, w, positive(b_enc)).map(f32::tanh),
            Activation::TopK { k } => encode_best(x, w, (k, 0.0), |col, h| {
                h.iter_mut().zip(&b_enc[col..]).for_each(|(h, b)| *h += b);
            }),
        }
    }
}

/// Chooses positive pre-activations; NaN is kept, so that it is seen.
#[allow(clippy::cast_possible_truncation, clippy::neg_cmp_op_on_partial_ord)]
fn positive(b_enc: &[f32]) -> impl Fn(usize, &mut [f32], &mut Vec<(u32, f32)>) + Sync + '_ {
    move |col, products, kept| {
        for (j, s) in (col..).zip(products.iter()) {
            let h = s + b_enc[j];
            if !(h <= 0.0) {
                kept.push((j as u32, h));
            }
        }
    }
}
