//! The product of a handful of rows: reading the weights once beats packing them for the matrix kernel.

use super::gemm::Mat;
use super::vector;

/// Up to so many rows.
const FEW_ROWS: usize = 4;

/// Whether [`stream`] is the way for this product.
pub(super) fn is_narrow(lhs: Mat<'_>, rhs: Mat<'_>) -> bool {
    lhs.rows <= FEW_ROWS && lhs.col_stride == 1 && (rhs.col_stride == 1 || rhs.row_stride == 1)
}

/// `out = lhs rhs`, row-major: `out` `[lhs.rows, rhs.cols]`.
///
/// # Panics
/// Shapes that do not fit, or a product that is not [narrow](is_narrow).
pub(super) fn stream(out: &mut [f32], lhs: Mat<'_>, rhs: Mat<'_>) {
    assert_eq!(out.len(), lhs.rows * rhs.cols, "destination of another size");
    for (r, y) in out.chunks_exact_mut(rhs.cols.max(1)).enumerate() {
        let x = lhs.row(r);
        if rhs.row_stride == 1 {
            vector::dots(y, x, |j| rhs.col(j));
        } else {
            y.fill(0.0);
            vector::accumulate(y, x, |k| rhs.row(k));
        }
    }
}
