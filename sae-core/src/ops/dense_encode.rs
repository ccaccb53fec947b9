//! Encoding into dense latents in one pass: product, bias and activation of a tile while it is in cache.

use candle_core::Tensor;

use super::cpu::per_latent;
use super::linear::product_with;
use super::vector::widest;
use crate::Result;

/// Pre-activations `x W + b` where they exceed their latent's threshold (0 when `threshold` is `None`),
/// 0 elsewhere, NaN kept: `x` `[.., d_in]`, `w` `[d_in, d_sae]`, `b` and `threshold` `[d_sae]`, to
/// `[.., d_sae]`. No gradient passes.
///
/// # Errors
/// Not f32 on the CPU, or shapes that do not fit.
pub fn latents_above(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    threshold: Option<&Tensor>,
) -> Result<Tensor> {
    let bias = per_latent(w, b)?;
    let least = match threshold {
        Some(threshold) => per_latent(w, threshold)?,
        None => vec![0.0; bias.len()],
    };
    product_with(x, w, |col, segment| {
        let n = segment.len();
        let (bias, least) = (&bias[col..col + n], &least[col..col + n]);
        widest(
            #[inline(always)]
            || {
                for ((h, b), t) in segment.iter_mut().zip(bias).zip(least) {
                    *h += b;
                    *h = if *h <= *t { 0.0 } else { *h };
                }
            },
        );
    })
}

/// Latents of a gated encoder: with `s = x W`, `ReLU(s * factor + b_mag)` where `s + b_gate > 0`, 0
/// elsewhere, NaN kept; all `[d_sae]`, other axes as in [`latents_above`].
///
/// # Errors
/// As [`latents_above`].
pub fn latents_gated(
    x: &Tensor,
    w: &Tensor,
    b_gate: &Tensor,
    factor: &Tensor,
    b_mag: &Tensor,
) -> Result<Tensor> {
    let (gate, factor) = (per_latent(w, b_gate)?, per_latent(w, factor)?);
    let bias = per_latent(w, b_mag)?;
    product_with(x, w, |col, segment| {
        let to = col + segment.len();
        let (gate, factor, bias) = (&gate[col..to], &factor[col..to], &bias[col..to]);
        widest(
            #[inline(always)]
            || {
                for (((s, g), f), b) in segment.iter_mut().zip(gate).zip(factor).zip(bias) {
                    let magnitude = *s * f + b;
                    *s = if *s + g <= 0.0 || magnitude <= 0.0 { 0.0 } else { magnitude };
                }
            },
        );
    })
}
