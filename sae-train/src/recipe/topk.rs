//! TopK (arXiv 2406.04093): squared error, and the auxiliary loss of dead latents.

use sae_core::ops::{ByLatent, dots_at, encode_best};
use sae_core::sae::Codes;

use super::aux_k::AuxK;
use super::backward::{Backward, dense, operands};
use super::{Pass, Recipe, StepContext};
use crate::params::{Params, row_norms};
use crate::residual::reconstruct;
use crate::rows::Rows;

/// The TopK architecture.
#[derive(Clone, Debug)]
pub struct TopK {
    /// Latents kept per row.
    pub k: usize,
    /// Choose by pre-activation times decoder norm, and divide by it in decode.
    pub rescale_acts_by_decoder_norm: bool,
    /// Weight of the auxiliary loss.
    pub aux_loss_coefficient: f64,
    /// Whether the auxiliary reconstruction includes `b_dec`, as in SAELens 5.
    pub aux_with_bias: bool,
    /// Whether the encoder sees `x - b_dec`.
    pub apply_b_dec_to_input: bool,
}

impl Recipe for TopK {
    fn name(&self) -> &'static str {
        "topk"
    }

    fn per_latent(&self) -> &'static [&'static str] {
        &["b_enc"]
    }

    fn coefficient(&self) -> Option<&'static str> {
        None
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
        let norms =
            self.rescale_acts_by_decoder_norm.then(|| row_norms(&params.w_dec, params.d_in));
        let codes = self.encode(params, rows, norms.as_deref());
        // Multiplied by the norm in encode, divided by it in decode: the norms have no gradient.
        let decoded = unscaled(&codes, norms.as_deref());
        let residual = reconstruct(&decoded, params, rows, context.row_weights);
        let mut aux_loss = 0.0;
        let by = ByLatent::new(&decoded);
        let slope = dots_at(&decoded, &residual.grad, &params.w_dec, params.d_in);
        let apply_b_dec_to_input = self.apply_b_dec_to_input;
        let back = Backward { params, rows, apply_b_dec_to_input };
        back.decoder(&by, decoded.values(), &residual.grad, grads);
        back.bias(&residual.grad, grads);
        let sums = back.encoder(&by, &slope, grads);
        sae_core::ops::vector::add(grads.latent_mut(0), &sums);
        if let Some(dead) = context.dead {
            let aux =
                AuxK { coefficient: self.aux_loss_coefficient, with_bias: self.aux_with_bias };
            aux_loss = aux.pass(&back, dead, norms.as_deref(), &residual.out, grads);
        }
        let losses = vec![("mse_loss", residual.loss), ("auxiliary_reconstruction_loss", aux_loss)];
        Pass { losses, codes, out: residual.out }
    }

    fn hidden_pre(&self, params: &Params, rows: &Rows<'_>) -> Vec<f32> {
        let [b_enc] = params.latent();
        let norms =
            self.rescale_acts_by_decoder_norm.then(|| row_norms(&params.w_dec, params.d_in));
        dense(params, rows, |col, h| prepare(h, &b_enc[col..], norms.as_ref().map(|n| &n[col..])))
    }
}

impl TopK {
    fn encode(&self, params: &Params, rows: &Rows<'_>, norms: Option<&[f32]>) -> Codes {
        let [b_enc] = params.latent();
        let Some((x, w)) = operands(params, rows) else {
            return Codes::empty(rows.n, params.d_sae);
        };
        encode_best(x, w, (self.k, 0.0), |col, h| {
            prepare(h, &b_enc[col..], norms.map(|n| &n[col..]));
        })
    }
}

/// `(h + bias) * norm`
#[inline(always)]
fn prepare(h: &mut [f32], bias: &[f32], norms: Option<&[f32]>) {
    h.iter_mut().zip(bias).for_each(|(h, b)| *h += b);
    if let Some(norms) = norms {
        h.iter_mut().zip(norms).for_each(|(h, n)| *h *= n);
    }
}

/// Codes divided by the norms, as decode does.
pub(super) fn unscaled(codes: &Codes, norms: Option<&[f32]>) -> Codes {
    match norms {
        Some(norms) => codes.clone().map_indexed(|i, v| v / norms[i]),
        None => codes.clone(),
    }
}
