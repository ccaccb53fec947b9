//! Activation functions of SAEs on dense pre-activations: ReLU, jump and top-k.

use std::cmp::Ordering;

use candle_core::{D, Tensor};
use rayon::prelude::*;

use super::cpu::{F32s, is_cpu_f32, require_width};
use crate::Result;
use crate::grad::attach;

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

/// `h` where `h > threshold` and `h > 0`, else 0; `threshold` `[d_sae]`. Strict at the threshold;
/// NaN is kept.
///
/// # Errors
/// As many thresholds as latents are needed.
pub fn jump(h: &Tensor, threshold: &Tensor) -> Result<Tensor> {
    require_width("the thresholds", threshold, h.dim(D::Minus1)?)?;
    let threshold = threshold.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    gated(h, move |h, f| {
        for ((f, h), t) in f.iter_mut().zip(h).zip(&threshold) {
            *f = if *h <= *t || *h <= 0.0 { 0.0 } else { *h };
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

/// The `k` largest values of a row with their indices, in order of index. NaN counts as smallest.
#[allow(clippy::cast_possible_truncation)] // a row is never longer than u32::MAX
pub fn top_k_row(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let larger_first = |a: &(u32, f32), b: &(u32, f32)| {
        let by_value = match (a.1.is_nan(), b.1.is_nan()) {
            (false, false) => b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal),
            (x, y) => x.cmp(&y),
        };
        by_value.then(a.0.cmp(&b.0))
    };
    let mut all: Vec<(u32, f32)> = row.iter().enumerate().map(|(i, v)| (i as u32, *v)).collect();
    if k < all.len() {
        if k == 0 {
            return Vec::new();
        }
        all.select_nth_unstable_by(k - 1, larger_first);
        all.truncate(k);
    }
    all.sort_unstable_by_key(|(index, _)| *index);
    all
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
                    pulp::Arch::new().dispatch(
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
    fn ties_go_to_the_lower_index() {
        assert_eq!(top_k_row(&[1.0, 2.0, 2.0, 2.0], 2), [(1, 2.0), (2, 2.0)]);
    }

    #[test]
    fn nan_is_never_preferred() {
        assert_eq!(top_k_row(&[f32::NAN, 1.0, 0.5], 2), [(1, 1.0), (2, 0.5)]);
    }

    #[test]
    fn k_beyond_the_row_keeps_everything() {
        assert_eq!(top_k_row(&[3.0, 1.0], 5).len(), 2);
        assert!(top_k_row(&[3.0, 1.0], 0).is_empty());
    }

    #[test]
    fn jump_is_strict_and_never_negative() -> Result<()> {
        let h = Tensor::new(&[[0.5f32, 0.6, -0.1]], &Device::Cpu)?;
        let t = Tensor::new(&[0.5f32, 0.5, -1.0], &Device::Cpu)?;
        assert_eq!(jump(&h, &t)?.to_vec2::<f32>()?, [[0.0, 0.6, 0.0]]);
        Ok(())
    }
}
