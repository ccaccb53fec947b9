//! Sums and products of two tensors of one shape.
//!
//! candle's own operations run in a pool of threads that spin for a while when they are done, beside the
//! pool of everything here: on a machine of few cores they hold up what comes next.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::cpu::{F32s, is_cpu_f32};
use super::vector::widest;
use crate::Result;

/// Values that one task computes.
const TASK: usize = 1 << 14;

/// `x + y`, element by element.
///
/// # Errors
/// Shapes that differ.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match here(x, y) {
        true => combine(x, y, |x, y| x + y),
        false => Ok((x + y)?),
    }
}

/// `x * y`, element by element.
///
/// # Errors
/// Shapes that differ.
pub fn multiply(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match here(x, y) {
        true => combine(x, y, |x, y| x * y),
        false => Ok((x * y)?),
    }
}

/// Whether the loop below does: no gradient flows, and values lie in the same order.
fn here(x: &Tensor, y: &Tensor) -> bool {
    let plain = |x: &Tensor| is_cpu_f32(x) && x.is_contiguous() && !x.track_op();
    plain(x) && plain(y) && x.dims() == y.dims()
}

fn combine(x: &Tensor, y: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync) -> Result<Tensor> {
    let (left, right) = (F32s::new(x)?, F32s::new(y)?);
    let (left, right) = (left.contiguous()?, right.contiguous()?);
    let mut out = vec![0f32; left.len()];
    let tasks = out.par_chunks_mut(TASK).zip(left.par_chunks(TASK)).zip(right.par_chunks(TASK));
    tasks.for_each(|((out, left), right)| {
        widest(
            #[inline(always)]
            || {
                for ((out, x), y) in out.iter_mut().zip(left).zip(right) {
                    *out = f(*x, *y);
                }
            },
        );
    });
    Ok(Tensor::from_vec(out, x.shape(), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_candle_computes() -> Result<()> {
        let device = Device::Cpu;
        for shape in [vec![], vec![3, 5], vec![2, 3 * TASK + 7]] {
            let x = Tensor::randn(0f32, 1.0, shape.as_slice(), &device)?;
            let y = Tensor::randn(0f32, 1.0, shape.as_slice(), &device)?;
            for (got, want) in [(add(&x, &y)?, (&x + &y)?), (multiply(&x, &y)?, (&x * &y)?)] {
                let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
                assert_eq!(flat(&got)?, flat(&want)?);
                assert_eq!(got.dims(), shape);
            }
        }
        let (x, y) =
            (Tensor::zeros((2, 3), candle_core::DType::F32, &device)?, Tensor::new(1f32, &device)?);
        assert!(add(&x, &y).is_err());
        let turned = Tensor::arange(0f32, 6.0, &device)?.reshape((3, 2))?.t()?;
        assert_eq!(add(&x, &turned)?.to_vec2::<f32>()?, turned.to_vec2::<f32>()?);
        Ok(())
    }
}
