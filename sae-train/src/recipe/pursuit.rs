//! Matching pursuit: latents chosen one after another by what is left of the input. Weights are tied: a
//! latent is read along the direction in which it writes. The squared error is the only loss.

use rayon::prelude::*;
use sae_core::ops::{ByLatent, Choices, gather, pursue, vector};
use sae_core::sae::{Codes, MatchingPursuit};

use super::backward::Backward;
use super::{Pass, Recipe, StepContext};
use crate::params::{Params, column_sums};
use crate::residual::{compare, decode};
use crate::rows::Rows;

/// Choices whose gradients are held at one time, about.
const CHOICES: usize = 1 << 14;

/// The matching pursuit architecture.
#[derive(Clone, Debug)]
pub struct Pursuit {
    /// When a row is done.
    pub stop: MatchingPursuit,
    /// Whether `b_dec` is subtracted from the input, and added to the output.
    pub apply_b_dec_to_input: bool,
}

impl Recipe for Pursuit {
    fn name(&self) -> &'static str {
        "matching_pursuit"
    }

    fn per_latent(&self) -> &'static [&'static str] {
        &[]
    }

    fn coefficient(&self) -> Option<&'static str> {
        None
    }

    fn apply_b_dec_to_input(&self) -> bool {
        self.apply_b_dec_to_input
    }

    fn zeros(&self, d_in: usize, d_sae: usize) -> Params {
        Params::tied(d_in, d_sae)
    }

    fn pass(
        &self,
        params: &Params,
        rows: &Rows<'_>,
        context: StepContext<'_>,
        grads: &mut Params,
    ) -> Pass {
        let d_in = params.d_in;
        let choices = pursue(&rows.centred, &params.w_dec, d_in, &self.stop);
        let codes = gather(&choices, params.d_sae);
        let bias = if self.apply_b_dec_to_input { params.b_dec.clone() } else { vec![0.0; d_in] };
        let out = decode(&codes, params, &bias);
        let back = |row| rows.back(row);
        let residual = compare(out, rows.raw, back, rows.n, context.row_weights, 1.0);

        let to_input = self.descend(&choices, params, rows, &residual.grad, grads);
        if self.apply_b_dec_to_input {
            let back = Backward { params, rows, apply_b_dec_to_input: true };
            back.bias(&residual.grad, grads);
            grads.b_dec.iter_mut().zip(&to_input).for_each(|(g, t)| *g -= t);
        }
        let metrics = self.metrics(&codes, rows, &residual.out);
        Pass { losses: vec![("mse_loss".into(), residual.loss)], metrics, codes, out: residual.out }
    }

    /// There is not one pre-activation per latent: zeros, as in SAELens.
    fn hidden_pre(&self, params: &Params, rows: &Rows<'_>) -> Vec<f32> {
        vec![0.0; rows.n * params.d_sae]
    }
}

impl Pursuit {
    /// Add the gradients of `W_dec`; back comes the sum over rows of the gradient of their inputs, `[d_in]`.
    /// `grad` `[n, d_in]` is the gradient of the reconstruction.
    fn descend(
        &self,
        choices: &[Choices],
        params: &Params,
        rows: &Rows<'_>,
        grad: &[f32],
        grads: &mut Params,
    ) -> Vec<f32> {
        let d_in = params.d_in;
        let mut to_input = vec![0f32; d_in];
        let mut from = 0;
        while from < rows.n {
            let mut held = 0;
            let more = choices[from..].iter().take_while(|row| {
                held += row.len();
                held <= CHOICES
            });
            let to = from + more.count().max(1);
            let (of, part) = (from * d_in..to * d_in, &choices[from..to]);
            let entries: usize = part.iter().map(Vec::len).sum();
            // One gradient of W_dec's row per choice, and one of the input per row of the batch.
            let mut per_choice = vec![0f32; entries * d_in];
            let mut per_row = vec![0f32; part.len() * d_in];
            let mut rest = per_choice.as_mut_slice();
            let slices: Vec<&mut [f32]> = part
                .iter()
                .map(|row| {
                    let (own, after) = std::mem::take(&mut rest).split_at_mut(row.len() * d_in);
                    rest = after;
                    own
                })
                .collect();
            part.par_iter()
                .zip(slices)
                .zip(per_row.par_chunks_exact_mut(d_in.max(1)))
                .zip(rows.centred[of.clone()].par_chunks_exact(d_in.max(1)))
                .zip(grad[of].par_chunks_exact(d_in.max(1)))
                .for_each(|((((choices, out), to_input), x), grad)| {
                    row(choices, &params.w_dec, x, grad, out, to_input);
                });
            let latents: Vec<u32> = part.iter().flatten().map(|(latent, _)| *latent).collect();
            let one_each = Codes::one_per_row(params.d_sae, &latents);
            let by = ByLatent::new(&one_each);
            by.accumulate(&mut grads.w_dec, one_each.values(), &per_choice, d_in);
            vector::add(&mut to_input, &column_sums(&per_row, d_in));
            from = to;
        }
        to_input
    }

    #[allow(clippy::cast_precision_loss)]
    fn metrics(&self, codes: &Codes, rows: &Rows<'_>, out: &[f32]) -> Vec<(&'static str, f64)> {
        let counts = || (0..codes.rows()).map(|row| codes.row(row).0.len() as f64);
        let d_in = rows.d_in.max(1);
        let left = |(x, y): (&[f32], &[f32])| {
            x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt()
        };
        let left: Vec<f64> =
            rows.raw.chunks_exact(d_in).zip(out.chunks_exact(d_in)).map(left).collect();
        let n = left.len().max(1) as f64;
        let threshold = self.stop.residual_threshold;
        let converged = left.iter().filter(|left| **left < threshold).count() as f64;
        vec![
            ("max_l0", counts().fold(0.0, f64::max)),
            ("min_l0", counts().fold(f64::INFINITY, f64::min)),
            ("residual_norm", left.iter().sum::<f64>() / n),
            ("residual_threshold_converged_portion", converged / n),
        ]
    }
}

/// The gradients of one row: of the direction of every choice, `out` `[choices, d_in]`, and of the input.
///
/// Each choice is `v = r w`, `r' = r - v w`, and `v w` is part of the output whose gradient is `grad`. With
/// `p` the gradient of `r'`: that of `v` is `a = (grad - p) w`, that of `w` is `v (grad - p) + a r`, and that
/// of `r` is `p + a w`.
fn row(
    choices: &[(u32, f32)],
    w_dec: &[f32],
    x: &[f32],
    grad: &[f32],
    out: &mut [f32],
    to_input: &mut [f32],
) {
    let d_in = x.len();
    let direction = |latent: u32| &w_dec[latent as usize * d_in..][..d_in];
    let chosen = || choices.iter().enumerate();
    // Forward once more, for what was left before each choice.
    let mut residual = x.to_vec();
    for (t, (latent, value)) in chosen() {
        out[t * d_in..][..d_in].copy_from_slice(&residual);
        vector::accumulate(&mut residual, &[-value], |_| direction(*latent));
    }
    // grad - p
    let mut through = grad.to_vec();
    for (t, (latent, value)) in chosen().rev() {
        let w = direction(*latent);
        let mut slope = [0f32];
        vector::dots(&mut slope, &through, |_| w);
        let out = &mut out[t * d_in..][..d_in];
        out.iter_mut().zip(&through).for_each(|(o, g)| *o = value * g + slope[0] * *o);
        vector::accumulate(&mut through, &[-slope[0]], |_| w);
    }
    to_input.iter_mut().zip(grad).zip(&through).for_each(|((o, g), t)| *o = g - t);
}
