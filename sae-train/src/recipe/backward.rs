//! From gradients of pre-activations to gradients of weights.

use sae_core::ops::gemm::{Mat, gemm_tiled};
use sae_core::ops::{ByLatent, dots_at, vector};
use sae_core::sae::Codes;

use crate::params::{Params, column_sums, weighted_sum};
use crate::rows::Rows;

/// The batch, the weights and where gradients go.
pub(super) struct Backward<'a> {
    pub(super) params: &'a Params,
    pub(super) rows: &'a Rows<'a>,
    pub(super) apply_b_dec_to_input: bool,
}

impl Backward<'_> {
    /// `decoded` (one value per entry) reached `grad` `[n, d_in]` through `W_dec`.
    pub(super) fn decoder(&self, by: &ByLatent, decoded: &[f32], grad: &[f32], grads: &mut Params) {
        by.accumulate(&mut grads.w_dec, decoded, grad, self.params.d_in);
    }

    /// `grad` `[n, d_in]` reached `b_dec` as the decoder's bias.
    pub(super) fn bias(&self, grad: &[f32], grads: &mut Params) {
        let sums = column_sums(grad, self.params.d_in);
        sae_core::ops::vector::add(&mut grads.b_dec, &sums);
    }

    /// `grad` `[n, d_in]` reached `part W_dec`, where `part` holds the latents from `from` on, numbered
    /// from 0, each of them as its pre-activation is: gradients of both matrices and of the bias.
    pub(super) fn reconstruction(
        &self,
        from: usize,
        part: &Codes,
        grad: &[f32],
        grads: &mut Params,
    ) {
        let d_in = self.params.d_in;
        let latents = from..from + part.d_sae();
        let of = latents.start * d_in..latents.end * d_in;
        let by = ByLatent::new(part);
        let slope = dots_at(part, grad, &self.params.w_dec[of.clone()], d_in);
        by.accumulate(&mut grads.w_dec[of.clone()], part.values(), grad, d_in);
        by.accumulate(&mut grads.w_enc[of.clone()], &slope, &self.rows.centred, d_in);
        let sums = by.sums(&slope);
        vector::add(&mut grads.latent_mut(0)[latents], &sums);
        if self.apply_b_dec_to_input {
            let through = weighted_sum(&sums, &self.params.w_enc[of], d_in);
            grads.b_dec.iter_mut().zip(through).for_each(|(g, t)| *g -= t);
        }
    }

    /// `slope` (one value per entry) is the gradient of `x W_enc`. Back comes its sum per latent.
    pub(super) fn encoder(&self, by: &ByLatent, slope: &[f32], grads: &mut Params) -> Vec<f32> {
        let d_in = self.params.d_in;
        by.accumulate(&mut grads.w_enc, slope, &self.rows.centred, d_in);
        let sums = by.sums(slope);
        if self.apply_b_dec_to_input {
            // b_dec enters every pre-activation as -b_dec W_enc: one product with the sums.
            let through = weighted_sum(&sums, &self.params.w_enc, d_in);
            grads.b_dec.iter_mut().zip(through).for_each(|(g, t)| *g -= t);
        }
        sums
    }
}

/// `x` of the batch and `W_enc` as matrices whose product is `[n, d_sae]`; `None` for empty ones.
pub(super) fn operands<'a>(params: &'a Params, rows: &'a Rows<'_>) -> Option<(Mat<'a>, Mat<'a>)> {
    let (d_in, d_sae) = (params.d_in, params.d_sae);
    let x = Mat::new(&rows.centred, (rows.n, d_in), (d_in, 1))?;
    Some((x, Mat::new(&params.w_enc, (d_in, d_sae), (1, d_in))?))
}

/// Dense `x W_enc`, each row passed through `finish`.
pub(super) fn dense(
    params: &Params,
    rows: &Rows<'_>,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut out = vec![0f32; rows.n * params.d_sae];
    if let Some((x, w)) = operands(params, rows) {
        gemm_tiled(&mut out, x, w, |_, col, segment| finish(col, segment));
    }
    out
}
