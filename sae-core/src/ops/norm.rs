//! LayerNorm and RMSNorm: the scale and the normalised activation.

use candle_core::{D, Tensor};
use rayon::prelude::*;

use super::cpu::{F32s, is_cpu_f32, require_width};
use super::vector;
use crate::Result;
use crate::grad::attach;

/// Whether a norm subtracts the mean first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centre {
    /// LayerNorm: the mean over the last axis is subtracted.
    Mean,
    /// RMSNorm: nothing is subtracted.
    Zero,
}

impl Centre {
    /// `x` less its mean over the last axis, or `x`.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn subtract(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Mean => Ok(x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?),
            Self::Zero => Ok(x.clone()),
        }
    }

    /// `sqrt(mean(x^2) + eps)` over the last axis, kept with length 1, of what
    /// [`Centre::subtract`] returned: `hook_scale`.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn scale(centred: &Tensor, eps: f64) -> Result<Tensor> {
        Ok((centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?)
    }
}

/// `(x - centre) / scale`, times gain and plus bias where given, in one pass: `[.., d] -> [.., d]`.
///
/// # Errors
/// A gain or bias of another width than `d`.
pub fn normalize(
    x: &Tensor,
    centre: Centre,
    eps: f64,
    affine: Option<(&Tensor, Option<&Tensor>)>,
) -> Result<Tensor> {
    if let Some((gain, bias)) = affine {
        let d = x.dim(D::Minus1)?;
        require_width("a gain", gain, d)?;
        bias.map_or(Ok(()), |bias| require_width("a bias", bias, d))?;
    }
    if !is_cpu_f32(x) || x.track_op() {
        return composed(x, centre, eps, affine);
    }
    let x = x.contiguous()?;
    let d = x.dim(D::Minus1)?;
    let view = F32s::new(&x)?;
    let values = view.contiguous()?;
    let gain = affine.map(|(gain, _)| F32s::new(gain)).transpose()?;
    let bias = affine.and_then(|(_, bias)| bias).map(F32s::new).transpose()?;
    let bias = bias.as_ref().map(F32s::contiguous).transpose()?;
    let gain = gain.as_ref().map(F32s::contiguous).transpose()?;
    let affine = gain.map(|gain| (gain, bias));
    let mut out = vec![0f32; values.len()];
    if d > 0 {
        let rows_per_task = (1usize << 14).div_ceil(d);
        out.par_chunks_mut(rows_per_task * d).zip(values.par_chunks(rows_per_task * d)).for_each(
            |(out, values)| {
                for (y, x) in out.chunks_exact_mut(d).zip(values.chunks_exact(d)) {
                    row(y, x, centre, eps, affine);
                }
            },
        );
    }
    Ok(Tensor::from_vec(out, x.shape(), x.device())?)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn row(
    y: &mut [f32],
    x: &[f32],
    centre: Centre,
    eps: f64,
    affine: Option<(&[f32], Option<&[f32]>)>,
) {
    let n = x.len() as f32;
    let mean = match centre {
        Centre::Mean => vector::sum(x) / n,
        Centre::Zero => 0.0,
    };
    let scale = (vector::sum_squares(x, mean) / n + eps as f32).sqrt();
    vector::scale_shift(y, x, (mean, 1.0 / scale), affine);
}

/// The same from separate operations, with a hand-written backward where a gradient flows.
fn composed(
    x: &Tensor,
    centre: Centre,
    eps: f64,
    affine: Option<(&Tensor, Option<&Tensor>)>,
) -> Result<Tensor> {
    let centred = centre.subtract(&x.detach())?;
    let scale = Centre::scale(&centred, eps)?;
    let normalized = centred.broadcast_div(&scale)?;
    let kept = normalized.clone();
    // d/dx of n = c(x) / s: (P g - n mean(g n)) / s, with P the centring projection.
    let n = attach(x, normalized, move |g| {
        let along = (g * &kept)?.mean_keepdim(D::Minus1)?;
        Ok((centre.subtract(g)? - kept.broadcast_mul(&along)?)?.broadcast_div(&scale)?)
    })?;
    match affine {
        Some((gain, None)) => Ok(n.broadcast_mul(gain)?),
        Some((gain, Some(bias))) => Ok(n.broadcast_mul(gain)?.broadcast_add(bias)?),
        None => Ok(n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_fused_pass_equals_the_composed_one() -> Result<()> {
        for (rows, d) in [(1, 5), (3, 64), (40, 193)] {
            let x = (Tensor::randn(0f32, 2.0, (rows, d), &Device::Cpu)? + 3.0)?;
            let gain = Tensor::randn(1f32, 0.1, d, &Device::Cpu)?;
            let bias = Tensor::randn(0f32, 0.1, d, &Device::Cpu)?;
            for centre in [Centre::Mean, Centre::Zero] {
                for affine in [None, Some((&gain, None)), Some((&gain, Some(&bias)))] {
                    let fused = normalize(&x, centre, 1e-5, affine)?;
                    let plain = composed(&x, centre, 1e-5, affine)?;
                    let diff = (fused - plain)?.abs()?.max_all()?.to_scalar::<f32>()?;
                    assert!(diff < 2e-6, "{rows}x{d} {centre:?}: {diff}");
                }
            }
        }
        Ok(())
    }
}
