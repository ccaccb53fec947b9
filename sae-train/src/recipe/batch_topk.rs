//! BatchTopK (arXiv 2412.06410): as TopK, with the latents that are kept shared out over the whole batch,
//! and a threshold for the time after training.

use sae_core::ops::encode_batch_best;
use sae_core::sae::Codes;

use super::aux_k::AuxK;
use super::backward::{Backward, operands};
use super::topk::{By, hidden_pre, norms, prepare, unscaled};
use super::{Pass, Recipe, StepContext};
use crate::params::Params;
use crate::residual::reconstruct;
use crate::rows::Rows;

/// The BatchTopK architecture.
#[derive(Clone, Debug)]
pub struct BatchTopK {
    /// Latents kept per row, on the mean over the batch.
    pub k: f64,
    /// Share of the smallest latent of a batch in the threshold after it.
    pub topk_threshold_lr: f64,
    /// Choose by pre-activation times decoder norm, and divide by it in decode.
    pub rescale_acts_by_decoder_norm: bool,
    /// Weight of the auxiliary loss.
    pub aux_loss_coefficient: f64,
    /// Whether the encoder sees `x - b_dec`.
    pub apply_b_dec_to_input: bool,
}

impl Recipe for BatchTopK {
    fn name(&self) -> &'static str {
        "batchtopk"
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
        true
    }

    fn threshold_rate(&self) -> Option<f64> {
        Some(self.topk_threshold_lr)
    }

    fn pass(
        &self,
        params: &Params,
        rows: &Rows<'_>,
        context: StepContext<'_>,
        grads: &mut Params,
    ) -> Pass {
        let norms = norms(self.rescale_acts_by_decoder_norm, params);
        let codes = self.encode(params, rows, norms.as_deref());
        let decoded = unscaled(&codes, norms.as_deref());
        let residual = reconstruct(&decoded, params, rows, context.row_weights);
        let back = Backward { params, rows, apply_b_dec_to_input: self.apply_b_dec_to_input };
        back.reconstruction(0, &decoded, &residual.grad, grads);
        back.bias(&residual.grad, grads);
        let dead = context.dead.unwrap_or_default();
        let aux = self.aux().pass(&back, dead, norms.as_deref(), &residual.out, grads);
        let losses =
            vec![("mse_loss".into(), residual.loss), ("auxiliary_reconstruction_loss".into(), aux)];
        Pass { losses, metrics: Vec::new(), codes, out: residual.out }
    }

    fn hidden_pre(&self, params: &Params, rows: &Rows<'_>) -> Vec<f32> {
        hidden_pre(self.rescale_acts_by_decoder_norm, params, rows)
    }
}

impl BatchTopK {
    /// Codes of a batch, times decoder norms where there are `norms`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    pub(super) fn encode(&self, params: &Params, rows: &Rows<'_>, norms: Option<&[f32]>) -> Codes {
        let [b_enc] = params.latent();
        let Some((x, w)) = operands(params, rows) else {
            return Codes::empty(rows.n, params.d_sae);
        };
        // Rounded down, as in SAELens.
        let keep = (self.k * rows.n as f64) as usize;
        encode_batch_best(x, w, keep, |col, h| {
            prepare(h, &b_enc[col..], norms.map(|n| &n[col..]));
        })
    }

    pub(super) fn aux(&self) -> AuxK {
        AuxK { coefficient: self.aux_loss_coefficient, with_bias: false, by: By::Value }
    }
}
