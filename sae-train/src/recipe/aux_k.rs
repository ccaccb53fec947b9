//! The auxiliary loss of TopK SAEs (arXiv 2406.04093, A.2): dead latents learn what the others leave.

use sae_core::ops::gemm::Mat;
use sae_core::sae::Codes;

use super::backward::Backward;
use super::topk::{By, unscaled};
use crate::params::Params;
use crate::residual::{compare, decode};

/// The auxiliary loss.
pub(super) struct AuxK {
    pub(super) coefficient: f64,
    pub(super) with_bias: bool,
    /// What the latents that take part are largest in.
    pub(super) by: By,
}

impl AuxK {
    /// The loss, 0 without dead latents, its gradients added to `grads`; `out` is the reconstruction
    /// `[n, d_in]` whose error is the target.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn pass(
        &self,
        back: &Backward<'_>,
        dead: &[bool],
        norms: Option<&[f32]>,
        out: &[f32],
        grads: &mut Params,
    ) -> f64 {
        let params = back.params;
        let dead: Vec<usize> = (0..dead.len()).filter(|i| dead[*i]).collect();
        if dead.is_empty() {
            return 0.0;
        }
        let half = params.d_in / 2;
        let share = (dead.len() as f64 / half.max(1) as f64).min(1.0);
        let codes = self.strongest(back, &dead, norms, half.min(dead.len()));
        let decoded = unscaled(&codes, norms);
        // The error is a target only: no gradient passes it.
        let target: Vec<f32> = back.rows.raw.iter().zip(out).map(|(x, y)| x - y).collect();
        let factor = self.coefficient * share;
        let residual = if self.with_bias {
            // The whole decoder, with what it undoes.
            let out = decode(&decoded, params, &params.b_dec);
            compare(out, &target, |row| back.rows.back(row), back.rows.n, None, factor)
        } else {
            let out = decode(&decoded, params, &vec![0.0; params.d_in]);
            compare(out, &target, |_| (1.0, 0.0), back.rows.n, None, factor)
        };
        back.reconstruction(0, &decoded, &residual.grad, grads);
        if self.with_bias {
            back.bias(&residual.grad, grads);
        }
        residual.loss
    }

    /// The `k` largest pre-activations among dead latents, of either sign.
    fn strongest(
        &self,
        back: &Backward<'_>,
        dead: &[usize],
        norms: Option<&[f32]>,
        k: usize,
    ) -> Codes {
        let (params, d_in) = (back.params, back.params.d_in);
        let [b_enc] = params.latent();
        let weights: Vec<f32> =
            dead.iter().flat_map(|i| params.w_enc[i * d_in..][..d_in].iter().copied()).collect();
        let (Some(x), Some(w)) = (
            Mat::new(&back.rows.centred, (back.rows.n, d_in), (d_in, 1)),
            Mat::new(&weights, (d_in, dead.len()), (1, d_in)),
        ) else {
            return Codes::empty(back.rows.n, params.d_sae);
        };
        let codes = self.by.best((x, w), (k, f32::NEG_INFINITY), |col, h| {
            for (h, i) in h.iter_mut().zip(&dead[col..]) {
                *h += b_enc[*i];
                if let Some(norms) = norms {
                    *h *= norms[*i];
                }
            }
        });
        codes.renumbered(dead, params.d_sae)
    }
}
