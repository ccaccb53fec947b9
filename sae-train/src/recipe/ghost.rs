//! Ghost gradients (SAELens 3 to 5): dead latents, through an exponential, learn the residual.

use sae_core::ops::gemm::Mat;
use sae_core::ops::{ByLatent, decode_into, dots_at, encode_rows};
use sae_core::sae::Codes;

use super::backward::Backward;
use crate::params::Params;
use crate::residual::dense_batch_weights;

/// Keeps quotients finite, as in SAELens.
const EPS: f32 = 1e-6;

/// The ghost loss, its gradients added to `grads`: `out` is the reconstruction `[n, d_in]`;
/// `weights` are those of the rows' squared errors, if they have any.
#[allow(clippy::cast_precision_loss)]
pub(super) fn pass(
    back: &Backward<'_>,
    dead: &[bool],
    out: &[f32],
    weights: Option<&[f32]>,
    grads: &mut Params,
) -> f64 {
    let (params, d_in) = (back.params, back.params.d_in);
    let dead: Vec<usize> = (0..params.d_sae).filter(|i| dead[*i]).collect();
    let codes = exponentials(back, &dead);
    let residual: Vec<f32> = back.rows.raw.iter().zip(out).map(|(x, y)| x - y).collect();
    let ghost_weights = weights.map(|_| dense_batch_weights(&residual, d_in));
    let mut grad = vec![0f32; residual.len()];
    decode_into(&mut grad, &codes, &params.w_dec, &vec![0.0; d_in]);
    let elements = residual.len() as f64;
    let mut loss = 0f64;
    let rows = grad.chunks_exact_mut(d_in.max(1)).zip(residual.chunks_exact(d_in.max(1)));
    for (row, (ghost, r)) in rows.enumerate() {
        let norm = |v: &[f32]| sae_core::ops::vector::sum_squares(v, 0.0).sqrt();
        let scale = norm(r) / (EPS + 2.0 * norm(ghost));
        let weight = weights.map_or(1.0, |w| w[row]);
        let ghost_weight = ghost_weights.as_ref().map_or(1.0, |w| w[row]);
        for (g, r) in ghost.iter_mut().zip(r) {
            let off = *g * scale - r;
            let error = off * off * ghost_weight;
            // The ratio of the two errors and the scale are held constant.
            let ratio = r * r * weight / (error + EPS);
            loss += f64::from(ratio * error);
            *g = narrow(2.0 / elements) * ratio * off * ghost_weight * scale;
        }
    }
    let by = ByLatent::new(&codes);
    let mut slope = dots_at(&codes, &grad, &params.w_dec, d_in);
    slope.iter_mut().zip(codes.values()).for_each(|(s, e)| *s *= e);
    back.decoder(&by, codes.values(), &grad, grads);
    let sums = back.encoder(&by, &slope, grads);
    sae_core::ops::vector::add(grads.latent_mut(0), &sums);
    loss / elements
}

/// `exp` of every dead latent's pre-activation.
#[allow(clippy::cast_possible_truncation)] // no SAE has u32::MAX latents
fn exponentials(back: &Backward<'_>, dead: &[usize]) -> Codes {
    let (params, d_in) = (back.params, back.params.d_in);
    let [b_enc] = params.latent();
    let weights: Vec<f32> =
        dead.iter().flat_map(|i| params.w_enc[i * d_in..][..d_in].iter().copied()).collect();
    let (Some(x), Some(w), false) = (
        Mat::new(&back.rows.centred, (back.rows.n, d_in), (d_in, 1)),
        Mat::new(&weights, (d_in, dead.len()), (1, d_in)),
        dead.is_empty(),
    ) else {
        return Codes::empty(back.rows.n, params.d_sae);
    };
    let codes = encode_rows(x, w, |col, h, kept| {
        let all = (col..).zip(h.iter());
        kept.extend(all.map(|(j, h)| (j as u32, (h + b_enc[dead[j]]).exp())));
    });
    codes.renumbered(dead, params.d_sae)
}

#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn narrow(x: f64) -> f32 {
    x as f32
}
