//! TopK (arXiv 2406.04093) and AbsTopK (arXiv 2510.00404): squared error, and the auxiliary loss of dead
//! latents.

use sae_core::ops::gemm::Mat;
use sae_core::ops::{encode_best, encode_best_abs};
use sae_core::sae::Codes;

use super::aux_k::AuxK;
use super::backward::{Backward, dense, operands};
use super::{Pass, Recipe, StepContext};
use crate::params::{Params, row_norms};
use crate::residual::reconstruct;
use crate::rows::Rows;

/// What the latents that are kept are largest in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Value: TopK.
    Value,
    /// Magnitude, signs kept: AbsTopK.
    Magnitude,
}

impl By {
    /// Codes of the `k` entries of each row of `x w` that are largest, after `prepare`; values must exceed
    /// `floor`, magnitudes 0.
    pub(super) fn best(
        self,
        (x, w): (Mat<'_>, Mat<'_>),
        (k, floor): (usize, f32),
        prepare: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Codes {
        match self {
            Self::Value => encode_best(x, w, (k, floor), prepare),
            Self::Magnitude => encode_best_abs(x, w, k, prepare),
        }
    }
}

/// The TopK architecture, and AbsTopK.
#[derive(Clone, Debug)]
pub struct TopK {
    /// Latents kept per row.
    pub k: usize,
    /// What they are largest in.
    pub by: By,
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
        match self.by {
            By::Value => "topk",
            By::Magnitude => "abstopk",
        }
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

    fn needs_raw_rows(&self) -> bool {
        !self.aux_with_bias
    }

    fn pass(
        &self,
        params: &Params,
        rows: &Rows<'_>,
        context: StepContext<'_>,
        grads: &mut Params,
    ) -> Pass {
        let norms = norms(self.rescale_acts_by_decoder_norm, params);
        let norms = norms.as_deref();
        let [b_enc] = params.latent();
        let codes = match operands(params, rows) {
            Some(operands) => self.by.best(operands, (self.k, 0.0), |col, h| {
                prepare(h, &b_enc[col..], norms.map(|n| &n[col..]));
            }),
            None => Codes::empty(rows.n, params.d_sae),
        };
        let decoded = unscaled(&codes, norms);
        let residual = reconstruct(&decoded, params, rows, context.row_weights);
        let back = Backward { params, rows, apply_b_dec_to_input: self.apply_b_dec_to_input };
        back.reconstruction(0, &decoded, &residual.grad, grads);
        back.bias(&residual.grad, grads);
        let aux = AuxK {
            coefficient: self.aux_loss_coefficient,
            with_bias: self.aux_with_bias,
            by: self.by,
        };
        let dead = context.dead.unwrap_or_default();
        let aux_loss = aux.pass(&back, dead, norms, &residual.out, grads);
        let losses = vec![
            ("mse_loss".into(), residual.loss),
            ("auxiliary_reconstruction_loss".into(), aux_loss),
        ];
        Pass { losses, metrics: Vec::new(), codes, out: residual.out }
    }

    fn hidden_pre(&self, params: &Params, rows: &Rows<'_>) -> Vec<f32> {
        hidden_pre(self.rescale_acts_by_decoder_norm, params, rows)
    }
}

/// Decoder norms, where latents are rescaled by them.
pub(super) fn norms(rescale: bool, params: &Params) -> Option<Vec<f32>> {
    rescale.then(|| row_norms(&params.w_dec, params.d_in))
}

/// `(x W_enc + b_enc) * norm`
pub(super) fn hidden_pre(rescale: bool, params: &Params, rows: &Rows<'_>) -> Vec<f32> {
    let [b_enc] = params.latent();
    let norms = norms(rescale, params);
    dense(params, rows, |col, h| prepare(h, &b_enc[col..], norms.as_ref().map(|n| &n[col..])))
}

/// `(h + bias) * norm`
#[inline(always)]
pub(super) fn prepare(h: &mut [f32], bias: &[f32], norms: Option<&[f32]>) {
    h.iter_mut().zip(bias).for_each(|(h, b)| *h += b);
    if let Some(norms) = norms {
        h.iter_mut().zip(norms).for_each(|(h, n)| *h *= n);
    }
}

/// Codes divided by the norms, as decode does. (Multiplied by them in encode: they have no gradient.)
pub(super) fn unscaled(codes: &Codes, norms: Option<&[f32]>) -> Codes {
    match norms {
        Some(norms) => codes.clone().map_indexed(|i, v| v / norms[i]),
        None => codes.clone(),
    }
}
