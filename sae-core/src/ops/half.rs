//! Products with weights of two bytes: widened to f32 some columns or rows at a time, while they are
//! in cache, so that memory is read in halves and everything is summed in f32.

use candle_core::{CpuStorage, DType, Storage, Tensor};

use super::element::Element;
use super::gemm::{Mat, gemm_panels, panel_width};
use super::stream::{is_narrow, stream_parallel};
use super::vector;
use crate::{Error, Result};

/// Whether `w` is f16 or bf16 on the CPU.
pub fn is_cpu_half(w: &Tensor) -> bool {
    w.device().is_cpu() && matches!(w.dtype(), DType::F16 | DType::BF16)
}

/// `out = x W`, each piece of a row through `finish(col, piece)`: `x` `[rows, d_in]` row-major, `w`
/// `[d_in, d_out]` of halves.
pub(super) fn product(
    out: &mut [f32],
    x: Mat<'_>,
    w: &Tensor,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<()> {
    let (storage, layout) = w.storage_and_layout();
    let (stride, start) = (layout.stride(), layout.start_offset());
    let (rows, cols) = w.dims2()?;
    if stride[0] != 1 && stride[1] != 1 {
        drop(storage);
        return product(out, x, &w.contiguous()?, finish);
    }
    let (shape, strides) = ((rows, cols), (stride[0], stride[1]));
    match &*storage {
        Storage::Cpu(CpuStorage::F16(data)) => {
            let w = Mat::new(data.get(start..).unwrap_or_default(), shape, strides);
            run(out, x, w.ok_or(Error::LayoutOutside)?, finish);
        }
        Storage::Cpu(CpuStorage::BF16(data)) => {
            let w = Mat::new(data.get(start..).unwrap_or_default(), shape, strides);
            run(out, x, w.ok_or(Error::LayoutOutside)?, finish);
        }
        _ => return Err(Error::LayoutOutside),
    }
    Ok(())
}

fn run<T: Element>(
    out: &mut [f32],
    x: Mat<'_>,
    w: Mat<'_, T>,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) {
    if is_narrow(x, w) {
        stream_parallel(out, x, w, &finish);
        return;
    }
    let panel = |col: usize, cols: usize, scratch: &mut Vec<f32>| {
        scratch.resize(w.rows * cols, 0.0);
        let block = w.block((0, w.rows), (col, cols));
        if w.row_stride == 1 {
            for (i, to) in scratch.chunks_exact_mut(w.rows.max(1)).enumerate() {
                vector::map(to, block.col(i), T::widen);
            }
            (1, w.rows)
        } else {
            for (i, to) in scratch.chunks_exact_mut(cols.max(1)).enumerate() {
                vector::map(to, block.row(i), T::widen);
            }
            (cols, 1)
        }
    };
    gemm_panels(out, x, (w.cols, panel_width(w.rows)), panel, |_, col, segment| {
        finish(col, segment);
    });
}

#[cfg(test)]
mod tests {
    use super::super::linear;
    use super::*;
    use candle_core::Device;

    /// A product with halves is the product with the same values in f32.
    #[test]
    fn every_path_equals_the_product_in_f32() -> Result<()> {
        let device = Device::Cpu;
        for dtype in [DType::F16, DType::BF16] {
            for (rows, d_in, d_out) in
                [(1, 7, 5), (1, 768, 3000), (3, 33, 1025), (5, 64, 100), (700, 48, 1300)]
            {
                let x = Tensor::randn(0f32, 1.0, (rows, d_in), &device)?;
                let b = Tensor::randn(0f32, 1.0, d_out, &device)?;
                let stored = Tensor::randn(0f32, 1.0, (d_in, d_out), &device)?.to_dtype(dtype)?;
                let wide = stored.to_dtype(DType::F32)?;
                let transposed = stored.t()?.contiguous()?.t()?;
                let want = linear(&x, &wide, Some(&b))?;
                // A view inside a larger matrix, contiguous along neither axis.
                let odd = Tensor::stack(&[&stored, &stored], 2)?.narrow(2, 1, 1)?.squeeze(2)?;
                for w in [&stored, &transposed, &odd] {
                    let diff = (linear(&x, w, Some(&b))? - &want)?.abs()?.max_all()?;
                    assert!(diff.to_scalar::<f32>()? < 2e-4, "{dtype:?} {rows}x{d_in}x{d_out}");
                }
            }
        }
        Ok(())
    }
}
