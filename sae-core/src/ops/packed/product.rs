//! Products with packed matrices: summed in f32 over weights that are widened while they are in cache.

use candle_core::{D, Device, Tensor};
use rayon::prelude::*;

use super::super::cpu::{F32s, is_cpu_f32, require_width};
use super::super::gemm::{Mat, gemm_panels, panel_width};
use super::super::pointwise::{Activation, activate};
use super::super::stream::parts;
use super::super::vector;
use super::Packed;
use super::words::{FEW_ROWS, dots, widen};
use crate::grad::attach;
use crate::{Error, Result};

/// Rows of a matrix that are summed at once: their panels stay in cache.
const OUTPUTS: usize = 1 << 13;

/// `activation(x W^T + b)` with `W` `[d_out, d_in]` and `b` `[d_out]` constant: `[.., d_in] -> [.., d_out]`. The
/// gradient with respect to `x` flows; none is kept for the weights.
///
/// # Errors
/// Other widths, or `x` is not f32 on the CPU.
pub fn linear_packed(
    x: &Tensor,
    w: &Packed,
    b: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let (d_out, d_in) = w.dims();
    if let Some(bias) = b {
        require_width("a bias", bias, d_out)?;
    }
    let bias = b.map(Tensor::to_vec1::<f32>).transpose()?;
    let add_bias = |col: usize, segment: &mut [f32]| {
        if let Some(bias) = &bias {
            vector::add(segment, &bias[col..col + segment.len()]);
        }
    };
    if !x.track_op() {
        return product(x, (d_in, d_out), |out, lhs| {
            forward(out, lhs, w, |col, segment| {
                add_bias(col, segment);
                if let Some(activation) = activation {
                    activation.apply_slice(segment);
                }
            });
        });
    }
    let value = product(&x.detach(), (d_in, d_out), |out, lhs| forward(out, lhs, w, add_bias))?;
    let w = w.clone();
    let value = attach(x, value, move |g| w.product_transposed(g))?;
    match activation {
        Some(activation) => activate(&value, activation),
        None => Ok(value),
    }
}

impl Packed {
    /// `x W`, `[.., d_out] -> [.., d_in]`.
    ///
    /// # Errors
    /// Another width than `d_out`, or `x` is not f32 on the CPU.
    pub fn product_transposed(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, cols) = self.dims();
        product(x, (rows, cols), |out, lhs| {
            for first in (0..rows).step_by(OUTPUTS) {
                let n = OUTPUTS.min(rows - first);
                let part = lhs.block((0, lhs.rows), (first, n));
                if first == 0 {
                    self.transposed_part(out, part, first);
                } else {
                    let mut more = vec![0f32; out.len()];
                    self.transposed_part(&mut more, part, first);
                    vector::add(out, &more);
                }
            }
        })
    }

    /// `out = x W` with the rows of `W` from `first` on, as many as `x` has columns.
    fn transposed_part(&self, out: &mut [f32], x: Mat<'_>, first: usize) {
        let (format, rows, cols) = (self.format(), x.cols, self.all.cols);
        let panel = |col: usize, n: usize, scratch: &mut Vec<f32>| {
            let padded = format.padded(n);
            scratch.resize(rows * padded, 0.0);
            for (row, to) in scratch.chunks_exact_mut(padded).enumerate() {
                widen(format, to, self.blocks(first + row, col, col + padded));
            }
            (padded, 1)
        };
        let width = panel_width(rows).next_multiple_of(format.bits.block());
        gemm_panels(out, x, (cols, width), panel, |_, _, _| ());
    }
}

/// `run(out, x)` on the rows of `x`, `[.., from] -> [.., to]`.
fn product(
    x: &Tensor,
    (from, to): (usize, usize),
    run: impl FnOnce(&mut [f32], Mat<'_>),
) -> Result<Tensor> {
    if x.rank() == 0 || x.dim(D::Minus1)? != from {
        let got = x.dims().to_vec();
        return Err(Error::WrongWidth { what: "the input of a packed map", got, want: from });
    }
    if !is_cpu_f32(x) {
        let (got, want) = (x.dims().to_vec(), "f32 on the CPU".to_owned());
        return Err(Error::InputShape { what: "the input of a packed map", got, want });
    }
    let x = x.contiguous()?;
    let rows = x.elem_count() / from.max(1);
    let values = F32s::new(&x)?;
    let lhs =
        Mat::new(values.contiguous()?, (rows, from), (from, 1)).ok_or(Error::LayoutOutside)?;
    let mut out = vec![0f32; rows * to];
    run(&mut out, lhs);
    let mut shape = x.dims().to_vec();
    shape.pop();
    shape.push(to);
    Ok(Tensor::from_vec(out, shape, &Device::Cpu)?)
}

/// `out = x W^T`, each piece of a row through `finish(col, piece)`.
fn forward(out: &mut [f32], x: Mat<'_>, w: &Packed, finish: impl Fn(usize, &mut [f32]) + Sync) {
    if x.rows <= FEW_ROWS {
        few(out, x, w, &finish);
        return;
    }
    let (format, cols) = (w.format(), w.all.cols);
    let padded = format.padded(cols);
    let panel = |first: usize, n: usize, scratch: &mut Vec<f32>| {
        scratch.resize(n * padded, 0.0);
        for (i, to) in scratch.chunks_exact_mut(padded).enumerate() {
            widen(format, to, w.row(first + i));
        }
        (1, padded)
    };
    gemm_panels(out, x, (w.rows, panel_width(padded)), panel, |_, col, segment| {
        finish(col, segment);
    });
}

/// The same for at most [`FEW_ROWS`] rows: the weights are read once, as they are packed.
fn few(out: &mut [f32], x: Mat<'_>, w: &Packed, finish: &(impl Fn(usize, &mut [f32]) + Sync)) {
    let padded = w.format().padded(w.all.cols);
    let mut whole = vec![0f32; x.rows * padded];
    for (r, whole) in whole.chunks_exact_mut(padded).enumerate() {
        whole[..x.cols].copy_from_slice(x.row(r));
    }
    let x: Vec<&[f32]> = whole.chunks_exact(padded).collect();
    let width = w.rows.div_ceil(parts(w.rows * padded)).max(1);
    let starts: Vec<usize> = (0..w.rows).step_by(width).collect();
    let part = |first: &usize| {
        let width = width.min(w.rows - first);
        let mut y = vec![0f32; x.len() * width];
        dots(w.format(), (&mut y, width), &x, |j| w.row(first + j));
        y.chunks_exact_mut(width).for_each(|y| finish(*first, y));
        y
    };
    let parts: Vec<Vec<f32>> = starts.par_iter().map(part).collect();
    for (first, part) in starts.iter().zip(&parts) {
        let width = width.min(w.rows - first);
        for (out, y) in out.chunks_exact_mut(w.rows).zip(part.chunks_exact(width)) {
            out[*first..first + width].copy_from_slice(y);
        }
    }
}
