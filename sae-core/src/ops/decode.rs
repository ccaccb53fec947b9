//! Decoding sparse codes by gathering decoder rows.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::cpu::F32s;
use super::gemm::{Mat, gemm};
use super::vector;
use crate::sae::Codes;
use crate::{Error, Result};

/// Rows that are worked on together, at most.
const BLOCK: usize = 64;
/// Blocks wanted, whatever the number of threads: the same codes give the same bits on any machine.
const BLOCKS: usize = 16;
/// Above one entry in so many, a block is decoded as a dense product.
pub(super) const DENSE_ABOVE: usize = 12;

/// `codes W + b`, gathering only the rows of `W` that a code names: `w` `[d_sae, d_out]`, `b`
/// `[d_out]` -> `[rows, d_out]`.
///
/// # Errors
/// Not f32 on the CPU, or shapes that do not fit.
pub fn decode_rows(codes: &Codes, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (d_sae, d_out) = w.dims2()?;
    if d_sae != codes.d_sae() || b.dims() != [d_out] {
        return Err(Error::WrongWidth {
            what: "the codes of a decoder",
            got: vec![codes.rows(), codes.d_sae()],
            want: d_sae,
        });
    }
    let (w, b) = (w.contiguous()?, b.contiguous()?);
    let (w, b) = (F32s::new(&w)?, F32s::new(&b)?);
    let mut out = vec![0f32; codes.rows() * d_out];
    decode_into(&mut out, codes, w.contiguous()?, b.contiguous()?);
    Ok(Tensor::from_vec(out, (codes.rows(), d_out), &Device::Cpu)?)
}

/// `out = codes W + b`: `w` `[d_sae, d_out]`, `b` `[d_out]`, `out` `[rows, d_out]`, all row-major.
///
/// # Panics
/// Lengths that do not fit each other: callers check shapes first.
pub fn decode_into(out: &mut [f32], codes: &Codes, w: &[f32], b: &[f32]) {
    let (d_sae, d_out) = (codes.d_sae(), b.len());
    assert_eq!((out.len(), w.len()), (codes.rows() * d_out, d_sae * d_out));
    if d_out == 0 {
        return;
    }
    let block = BLOCK.min(codes.rows().div_ceil(BLOCKS).max(1));
    out.par_chunks_mut(block * d_out).enumerate().for_each_init(Vec::new, |dense, (i, out)| {
        let (from, rows) = (i * block, out.len() / d_out);
        let entries = codes.offsets()[from + rows] - codes.offsets()[from];
        if entries * DENSE_ABOVE > rows * d_sae {
            expand(dense, codes, from, rows);
            product(out, (dense, rows), (w, d_sae), d_out);
            out.chunks_exact_mut(d_out).for_each(|y| vector::add(y, b));
            return;
        }
        for (r, y) in out.chunks_exact_mut(d_out).enumerate() {
            let (indices, values) = codes.row(from + r);
            y.copy_from_slice(b);
            vector::accumulate(y, values, |i| &w[indices[i] as usize * d_out..][..d_out]);
        }
    });
}

/// Rows `from..from + rows` as dense activations, `[rows, d_sae]`.
fn expand(dense: &mut Vec<f32>, codes: &Codes, from: usize, rows: usize) {
    dense.clear();
    dense.resize(rows * codes.d_sae(), 0.0);
    for (r, row) in dense.chunks_exact_mut(codes.d_sae()).enumerate() {
        let (indices, values) = codes.row(from + r);
        for (i, v) in indices.iter().zip(values) {
            row[*i as usize] = *v;
        }
    }
}

/// `out = lhs rhs` of row-major matrices given with their numbers of rows.
pub(super) fn product(out: &mut [f32], lhs: (&[f32], usize), rhs: (&[f32], usize), cols: usize) {
    let (left, right) =
        (Mat::new(lhs.0, (lhs.1, rhs.1), (rhs.1, 1)), Mat::new(rhs.0, (rhs.1, cols), (cols, 1)));
    if let (Some(left), Some(right)) = (left, right) {
        gemm(out, cols, left, right, 1.0);
    }
}
