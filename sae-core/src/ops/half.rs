//! Products with weights of two bytes: widened to f32 some columns or rows at a time, while they are
//! in cache, so that memory is read in halves and everything is summed in f32.

use candle_core::{CpuStorage, DType, Storage, Tensor};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::gemm::{Mat, gemm_panels};
use super::vector;
use crate::{Error, Result};

/// Up to so many rows the weights are streamed once.
const FEW_ROWS: usize = 4;
/// Columns that one task of the few-rows kernel makes.
const STRIP: usize = 256;
/// Columns or rows that are widened together.
const GROUP: usize = 8;
/// Values of a panel: what a second-level cache holds.
const PANEL: usize = 1 << 17;

/// Whether `w` is f16 or bf16 on the CPU.
pub fn is_cpu_half(w: &Tensor) -> bool {
    w.device().is_cpu() && matches!(w.dtype(), DType::F16 | DType::BF16)
}

/// A float of two bytes.
trait Half: Copy + Send + Sync {
    /// The same values in f32.
    fn widen(from: &[Self], to: &mut [f32]);
}

impl Half for f16 {
    fn widen(from: &[Self], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }
}

impl Half for bf16 {
    fn widen(from: &[Self], to: &mut [f32]) {
        vector::map(to, from, |value| f32::from_bits(u32::from(value.to_bits()) << 16));
    }
}

/// A matrix of halves, contiguous along its rows or its columns.
#[derive(Clone, Copy)]
struct Halves<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<T: Half> Halves<'_, T> {
    /// Part of column `col`, widened; rows must be contiguous along it.
    fn col(&self, col: usize, to: &mut [f32]) {
        T::widen(&self.data[col * self.col_stride..][..self.rows], to);
    }

    /// Columns `from..` of row `row`, widened; columns must be contiguous.
    fn row(&self, row: usize, from: usize, to: &mut [f32]) {
        T::widen(&self.data[row * self.row_stride + from..][..to.len()], to);
    }
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
    let last = start + rows.saturating_sub(1) * stride[0] + cols.saturating_sub(1) * stride[1];
    let shape = [rows, cols, stride[0], stride[1]];
    match &*storage {
        Storage::Cpu(CpuStorage::F16(data)) if last < data.len() => {
            run(out, x, view(&data[start..], shape), finish);
        }
        Storage::Cpu(CpuStorage::BF16(data)) if last < data.len() => {
            run(out, x, view(&data[start..], shape), finish);
        }
        _ => return Err(Error::LayoutOutside),
    }
    Ok(())
}

fn view<T>(data: &[T], [rows, cols, row_stride, col_stride]: [usize; 4]) -> Halves<'_, T> {
    Halves { data, rows, cols, row_stride, col_stride }
}

fn run<T: Half>(
    out: &mut [f32],
    x: Mat<'_>,
    w: Halves<'_, T>,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) {
    if x.rows <= FEW_ROWS {
        few_rows(out, x, w, &finish);
        return;
    }
    let width = (PANEL / w.rows.max(1)).next_multiple_of(16).clamp(64, 1024);
    let panel = |col: usize, cols: usize, scratch: &mut Vec<f32>| {
        scratch.resize(w.rows * cols, 0.0);
        if w.row_stride == 1 {
            for (i, to) in scratch.chunks_exact_mut(w.rows.max(1)).enumerate() {
                w.col(col + i, to);
            }
            (1, w.rows)
        } else {
            for (i, to) in scratch.chunks_exact_mut(cols.max(1)).enumerate() {
                w.row(i, col, to);
            }
            (cols, 1)
        }
    };
    gemm_panels(out, x, (w.cols, width), panel, |_, col, segment| finish(col, segment));
}

/// The product for a handful of rows: bound by reading the weights, which it does once.
fn few_rows<T: Half>(
    out: &mut [f32],
    x: Mat<'_>,
    w: Halves<'_, T>,
    finish: &(impl Fn(usize, &mut [f32]) + Sync),
) {
    let n = w.cols;
    let strip = |strip: usize| {
        let col = strip * STRIP;
        let width = STRIP.min(n - col);
        let mut part = vec![0f32; x.rows * width];
        if w.row_stride == 1 {
            columns(&mut part, x, w, (col, width));
        } else {
            rows(&mut part, x, w, (col, width));
        }
        part.chunks_exact_mut(width).for_each(|y| finish(col, y));
        part
    };
    let strips: Vec<Vec<f32>> = (0..n.div_ceil(STRIP)).into_par_iter().map(strip).collect();
    for (strip, part) in strips.iter().enumerate() {
        let col = strip * STRIP;
        let width = STRIP.min(n - col);
        for (r, y) in part.chunks_exact(width).enumerate() {
            out[r * n + col..][..width].copy_from_slice(y);
        }
    }
}

/// Columns `col..col + width` of the product, by dot products.
fn columns<T: Half>(part: &mut [f32], x: Mat<'_>, w: Halves<'_, T>, (col, width): (usize, usize)) {
    let mut wide = vec![0f32; GROUP * w.rows];
    for first in (0..width).step_by(GROUP) {
        let n = GROUP.min(width - first);
        for (i, to) in wide.chunks_exact_mut(w.rows.max(1)).take(n).enumerate() {
            w.col(col + first + i, to);
        }
        for r in 0..x.rows {
            let y = &mut part[r * width + first..][..n];
            vector::dots(y, x.row(r), |i| &wide[i * w.rows..][..w.rows]);
        }
    }
}

/// The same, by adding up rows of the weights.
fn rows<T: Half>(part: &mut [f32], x: Mat<'_>, w: Halves<'_, T>, (col, width): (usize, usize)) {
    let mut wide = vec![0f32; GROUP * width];
    for first in (0..w.rows).step_by(GROUP) {
        let n = GROUP.min(w.rows - first);
        for (i, to) in wide.chunks_exact_mut(width).take(n).enumerate() {
            w.row(first + i, col, to);
        }
        for (r, y) in part.chunks_exact_mut(width).enumerate() {
            vector::accumulate(y, &x.row(r)[first..][..n], |i| &wide[i * width..][..width]);
        }
    }
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
