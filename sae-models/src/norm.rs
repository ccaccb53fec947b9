//! A norm with its two hooks, fused where neither is wanted.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{Cursor, HookName};
use sae_core::ops::{Centre, normalize};

use crate::weights::NormWeights;

/// `[.., d_model] -> [.., d_model]`, passing `hook_scale` and `hook_normalized` (before the gain).
pub(crate) fn norm(
    x: &Tensor,
    (centre, eps): (Centre, f64),
    weights: &NormWeights,
    (scale_at, normalized_at): (HookName, HookName),
    hooks: &mut Cursor<'_, '_>,
) -> Result<Tensor> {
    let affine = match weights {
        NormWeights::Affine { gain, bias } => Some((gain, bias.as_ref())),
        NormWeights::Folded => None,
    };
    let normalized = if hooks.wants(scale_at) {
        let centred = centre.subtract(x)?;
        let scale = hooks.at(scale_at, Centre::scale(&centred, eps)?)?;
        centred.broadcast_div(&scale)?
    } else if hooks.wants(normalized_at) {
        normalize(x, centre, eps, None)?
    } else {
        return normalize(x, centre, eps, affine);
    };
    let normalized = hooks.at(normalized_at, normalized)?;
    match affine {
        Some((gain, None)) => Ok(normalized.broadcast_mul(gain)?),
        Some((gain, Some(bias))) => Ok(normalized.broadcast_mul(gain)?.broadcast_add(bias)?),
        None => Ok(normalized),
    }
}
