//! The product of a handful of rows: reading the weights once beats packing them for the matrix kernel.
//!
//! Such a product is bound by memory, so what counts is how the weights are read: each task walks along
//! pieces that lie together, as long as the machine's prefetching likes them.

use rayon::prelude::*;

use super::element::Element;
use super::gemm::Mat;
use super::vector;

/// Up to so many rows.
pub(super) const FEW_ROWS: usize = 4;
/// Columns whose sums are kept in the first-level cache.
const STRIP: usize = 4096;
/// Tasks wanted, whatever the number of threads: the same bits come out on any machine.
const PARTS: usize = 16;
/// Weights that are worth a task of their own.
const LEAST: usize = 1 << 16;
/// Rows or columns of weights that all rows of the left side meet while they are in cache.
const GROUP: usize = 16;

/// Into how many tasks to cut a product with so many weights: a power of two, so that threads get equal shares.
pub(super) fn parts(weights: usize) -> usize {
    (weights / LEAST).clamp(1, PARTS).next_power_of_two()
}

/// Whether [`stream`] is the way for this product.
pub(super) fn is_narrow<T: Element>(lhs: Mat<'_>, rhs: Mat<'_, T>) -> bool {
    lhs.rows <= FEW_ROWS && lhs.col_stride == 1 && (rhs.col_stride == 1 || rhs.row_stride == 1)
}

/// `out = lhs rhs`, row-major: `out` `[lhs.rows, rhs.cols]`; one thread.
///
/// # Panics
/// Shapes that do not fit, or a product that is not [narrow](is_narrow).
pub(super) fn stream<T: Element>(out: &mut [f32], lhs: Mat<'_>, rhs: Mat<'_, T>) {
    assert_eq!(out.len(), lhs.rows * rhs.cols, "destination of another size");
    let n = rhs.cols.max(1);
    if rhs.row_stride == 1 {
        for from in (0..rhs.cols).step_by(GROUP) {
            let width = GROUP.min(rhs.cols - from);
            for (r, y) in out.chunks_exact_mut(n).enumerate() {
                vector::dots(&mut y[from..from + width], lhs.row(r), |j| rhs.col(from + j));
            }
        }
        return;
    }
    out.fill(0.0);
    for from in (0..rhs.rows).step_by(GROUP) {
        let height = GROUP.min(rhs.rows - from);
        for (r, y) in out.chunks_exact_mut(n).enumerate() {
            vector::accumulate(y, &lhs.row(r)[from..from + height], |k| rhs.row(from + k));
        }
    }
}

/// The same on all threads; `finish(col, segment)` gets each piece of a row once it is done.
///
/// # Panics
/// As [`stream`].
pub(super) fn stream_parallel<T: Element>(
    out: &mut [f32],
    lhs: Mat<'_>,
    rhs: Mat<'_, T>,
    finish: &(impl Fn(usize, &mut [f32]) + Sync),
) {
    let (rows, depth, n) = (lhs.rows, rhs.rows, rhs.cols);
    if n == 0 {
        return;
    }
    let parts = parts(depth * n);
    // Columns that lie together are cut apart, rows that lie together too, in pieces of one length.
    let (width, height) = if rhs.row_stride == 1 {
        (n.div_ceil(parts), depth)
    } else {
        let width = STRIP.min(n);
        (width, depth.div_ceil(parts.div_ceil(n.div_ceil(width))))
    };
    let cut = (0..n).step_by(width).flat_map(|col| {
        (0..depth).step_by(height.max(1)).map(move |row| (row, height.min(depth - row), col))
    });
    let sums: Vec<(usize, Vec<f32>)> = cut
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(row, height, col)| {
            let width = width.min(n - col);
            let mut sums = vec![0f32; rows * width];
            let left = lhs.block((0, rows), (row, height));
            stream(&mut sums, left, rhs.block((row, height), (col, width)));
            (col, sums)
        })
        .collect();
    // There are few rows, so that putting the pieces together costs little.
    out.fill(0.0);
    for (col, sums) in &sums {
        let width = width.min(n - col);
        for (y, sums) in out.chunks_exact_mut(n).zip(sums.chunks_exact(width)) {
            vector::add(&mut y[*col..col + width], sums);
        }
    }
    out.chunks_exact_mut(n).for_each(|y| finish(0, y));
}
