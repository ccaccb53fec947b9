//! Activation functions of SAEs on dense pre-activations: ReLU, jump and top-k.

use candle_core::{D, Tensor};
use rayon::prelude::*;

use super::best::top_k_row;
use super::cpu::{F32s, is_cpu_f32, require_width};
use super::vector::widest;
use crate::Result;
use crate::grad::attach;
use crate::sae::Codes;

/// Rows that one task works on are chosen so that it touches about so many values.
const TASK_VALUES: usize = 1 << 15;

/// `max(h, 0)`, NaN kept. The gradient is 0 at 0, as in PyTorch.
///
/// # Errors
/// The tensor operation failed.
pub fn relu(h: &Tensor) -> Result<Tensor> {
    gated(h, |h, f| {
        for (f, h) in f.iter_mut().zip(h) {
            *f = if *h <= 0.0 { 0.0 } else { *h };
        }
    })
}

/// `h` where `h > threshold`, else 0; `threshold` `[d_sae]`. Strict at the threshold; NaN is kept. Only
/// a threshold below 0 lets negative values pass.
///
/// # Errors
/// As many thresholds as latents are needed.
pub fn jump(h: &Tensor, threshold: &Tensor) -> Result<Tensor> {
    require_width("the thresholds", threshold, h.dim(D::Minus1)?)?;
    let threshold = threshold.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    gated(h, move |h, f| {
        for ((f, h), t) in f.iter_mut().zip(h).zip(&threshold) {
            *f = if *h <= *t { 0.0 } else { *h };
        }
    })
}

/// The `k` largest of each row, less those that are not positive (SAELens takes the top k of the
/// signed values and applies ReLU to them). Ties go to the lower index.
///
/// # Errors
/// The tensor operation failed.
pub fn keep_top_k(h: &Tensor, k: usize) -> Result<Tensor> {
    gated(h, move |h, f| {
        f.fill(0.0);
        for (index, value) in top_k_row(h, k) {
            f[index as usize] = if value <= 0.0 { 0.0 } else { value };
        }
    })
}

/// The `k` of each row that are largest in magnitude, signs kept; zero elsewhere. Ties go to the
/// lower index.
///
/// # Errors
/// The tensor operation failed.
pub fn keep_top_k_abs(h: &Tensor, k: usize) -> Result<Tensor> {
    gated(h, move |h, f| {
        f.fill(0.0);
        let magnitudes: Vec<f32> = h.iter().map(|h| h.abs()).collect();
        for (index, _) in top_k_row(&magnitudes, k) {
            f[index as usize] = h[index as usize];
        }
    })
}

/// The `n` largest values above 0 of all of `h` `[.., d_sae]` together, zero elsewhere; ties go to
/// the lower index, and NaN is kept besides.
///
/// # Errors
/// The tensor operation failed.
pub fn keep_largest(h: &Tensor, n: usize) -> Result<Tensor> {
    let acts = relu(h)?;
    let kept = Codes::from_dense(&acts.detach())?.keep_largest(n).to_dense()?;
    let mask = kept.ne(0f32)?.reshape(acts.shape())?.to_device(h.device())?;
    Ok((acts * mask.to_dtype(h.dtype())?)?)
}

/// A row function whose output is the input where it is not zero: the gradient passes there.
fn gated(h: &Tensor, row: impl Fn(&[f32], &mut [f32]) + Send + Sync) -> Result<Tensor> {
    let plain = h.detach();
    let on_cpu = if is_cpu_f32(&plain) {
        plain.contiguous()?
    } else {
        plain
            .to_dtype(candle_core::DType::F32)?
            .to_device(&candle_core::Device::Cpu)?
            .contiguous()?
    };
    let width = on_cpu.dim(D::Minus1)?;
    let view = F32s::new(&on_cpu)?;
    let values = view.contiguous()?;
    let mut out = vec![0f32; values.len()];
    if width > 0 {
        let rows = TASK_VALUES.div_ceil(width);
        out.par_chunks_mut(rows * width).zip(values.par_chunks(rows * width)).for_each(
            |(out, values)| {
                for (f, h) in out.chunks_exact_mut(width).zip(values.chunks_exact(width)) {
                    widest(
                        #[inline(always)]
                        || row(h, f),
                    );
                }
            },
        );
    }
    let value = Tensor::from_vec(out, h.shape(), &candle_core::Device::Cpu)?
        .to_device(h.device())?
        .to_dtype(h.dtype())?;
    let kept = value.clone();
    attach(h, value, move |g| Ok((g * kept.ne(0f32)?.to_dtype(g.dtype())?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn jump_is_strict() -> Result<()> {
        let h = Tensor::new(&[[0.5f32, 0.6, -0.1, -0.1]], &Device::Cpu)?;
        let t = Tensor::new(&[0.5f32, 0.5, 0.0, -1.0], &Device::Cpu)?;
        assert_eq!(jump(&h, &t)?.to_vec2::<f32>()?, [[0.0, 0.6, 0.0, -0.1]]);
        Ok(())
    }
}
