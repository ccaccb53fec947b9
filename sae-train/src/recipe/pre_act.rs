//! The pre-activation loss of JumpReLU SAEs (Anthropic, January 2025): dead latents are pulled up to
//! their thresholds.

use sae_core::ops::gemm::Mat;
use sae_core::ops::{ByLatent, encode_rows};
use sae_core::sae::Codes;

use super::backward::Backward;
use super::sparsity::Penalty;
use crate::params::Params;

/// `coefficient * mean_row sum_dead ReLU(threshold - h) ||W_dec||`, its gradients added to `grads`.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
pub(super) fn pass(
    back: &Backward<'_>,
    dead: &[bool],
    thresholds: &[f32],
    norms: &[f32],
    coefficient: f64,
    grads: &mut Params,
) -> f64 {
    let params = back.params;
    let dead: Vec<usize> = (0..dead.len()).filter(|i| dead[*i]).collect();
    let gaps = gaps(back, &dead, thresholds);
    let to_mean = coefficient / back.rows.n.max(1) as f64;
    let mut through_norms =
        Penalty { loss: 0.0, grad: Vec::new(), grad_norms: vec![0.0; params.d_sae] };
    let mut slope = Vec::with_capacity(gaps.values().len());
    for (i, gap) in gaps.indices().iter().zip(gaps.values()) {
        let (i, gap) = (*i as usize, f64::from(*gap));
        through_norms.loss += to_mean * gap * f64::from(norms[i]);
        through_norms.grad_norms[i] += to_mean * gap;
        slope.push((-to_mean * f64::from(norms[i])) as f32);
    }
    let by = ByLatent::new(&gaps);
    let sums = back.encoder(&by, &slope, grads);
    sae_core::ops::vector::add(grads.latent_mut(0), &sums);
    // The threshold has the opposite slope of the pre-activation.
    grads.latent_mut(1).iter_mut().zip(&sums).for_each(|(g, s)| *g -= s);
    through_norms.add_to_decoder(params, norms, grads);
    through_norms.loss
}

/// `threshold - h` of dead latents, where it is positive.
#[allow(clippy::cast_possible_truncation)] // no SAE has u32::MAX latents
fn gaps(back: &Backward<'_>, dead: &[usize], thresholds: &[f32]) -> Codes {
    let (params, d_in) = (back.params, back.params.d_in);
    let [b_enc, _] = params.latent();
    let weights: Vec<f32> =
        dead.iter().flat_map(|i| params.w_enc[i * d_in..][..d_in].iter().copied()).collect();
    let (Some(x), Some(w), false) = (
        Mat::new(&back.rows.centred, (back.rows.n, d_in), (d_in, 1)),
        Mat::new(&weights, (d_in, dead.len()), (1, d_in)),
        dead.is_empty(),
    ) else {
        return Codes::empty(back.rows.n, params.d_sae);
    };
    let codes = encode_rows(x, w, |col, products, kept| {
        for (j, s) in (col..).zip(products.iter()) {
            let gap = thresholds[dead[j]] - (s + b_enc[dead[j]]);
            if gap > 0.0 {
                kept.push((j as u32, gap));
            }
        }
    });
    codes.renumbered(dead, params.d_sae)
}
