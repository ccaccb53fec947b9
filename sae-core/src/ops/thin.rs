//! The product of some rows: weights are multiplied where they lie, since packing them for the matrix
//! kernel would cost as much as the product.
//!
//! Every element is summed in one order, wherever tiles begin and end.

use std::array::from_fn;

use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};

use super::gemm::Mat;

/// Up to so many rows.
const SOME_ROWS: usize = 32;

/// Whether [`multiply`] is the way for this product.
pub(super) fn is_thin(lhs: Mat<'_>, rhs: Mat<'_>) -> bool {
    lhs.rows <= SOME_ROWS && lhs.col_stride == 1 && (rhs.col_stride == 1 || rhs.row_stride == 1)
}

/// `out = lhs rhs`, one slice per row; one thread.
///
/// # Panics
/// Shapes that do not fit, or a product that is not [thin](is_thin).
pub(super) fn multiply(out: &mut [&mut [f32]], lhs: Mat<'_>, rhs: Mat<'_>) {
    assert!(out.len() == lhs.rows && lhs.cols == rhs.rows, "shapes that do not fit");
    assert!(out.iter().all(|row| row.len() == rhs.cols), "destination of another size");
    Arch::new().dispatch(Multiply { out, lhs, rhs });
}

struct Multiply<'o, 'r, 'm> {
    out: &'o mut [&'r mut [f32]],
    lhs: Mat<'m>,
    rhs: Mat<'m>,
}

impl WithSimd for Multiply<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many sums as there are registers for, less what they are made of.
        match (self.rhs.row_stride == 1, S::REGISTER_COUNT >= 32) {
            (true, true) => self.tiles::<S, true, 4>(simd, 5),
            (true, false) => self.tiles::<S, true, 2>(simd, 3),
            (false, true) => self.tiles::<S, false, 4>(simd, 5),
            (false, false) => self.tiles::<S, false, 2>(simd, 6),
        }
    }
}

impl Multiply<'_, '_, '_> {
    /// All tiles, of at most `most` rows and of `C` columns (`DOTS`) or vectors of columns.
    #[inline(always)]
    fn tiles<S: Simd, const DOTS: bool, const C: usize>(mut self, simd: S, most: usize) {
        let step = if DOTS { 1 } else { S::F32_LANES };
        let mut col = 0;
        // A strip of the weights meets all rows while it is in cache.
        while col + C * step <= self.rhs.cols {
            self.strip::<S, DOTS, C>(simd, col, most);
            col += C * step;
        }
        while col < self.rhs.cols {
            self.strip::<S, DOTS, 1>(simd, col, most);
            col += step;
        }
    }

    /// The tiles that begin at column `col`, of nearly one height.
    #[inline(always)]
    fn strip<S: Simd, const DOTS: bool, const C: usize>(
        &mut self,
        simd: S,
        col: usize,
        most: usize,
    ) {
        let rows = self.lhs.rows;
        let height = rows.div_ceil(rows.div_ceil(most).max(1)).max(1);
        for row in (0..rows).step_by(height) {
            // A function of its own for each size, so that its sums stay in registers.
            macro_rules! tile {
                ($rows:literal) => {{
                    let x = from_fn(|r| self.lhs.row(row + r));
                    let out = &mut self.out[row..row + $rows];
                    simd.vectorize(Tile::<S, DOTS, $rows, C> { simd, x, w: self.rhs, col, out });
                }};
            }
            match height.min(rows - row) {
                6 => tile!(6),
                5 => tile!(5),
                4 => tile!(4),
                3 => tile!(3),
                2 => tile!(2),
                _ => tile!(1),
            }
        }
    }
}

/// `R` rows times `C` columns of `w` (`DOTS`) or vectors of columns, of which `col` is the first.
struct Tile<'t, 'm, 'r, S, const DOTS: bool, const R: usize, const C: usize> {
    simd: S,
    x: [&'m [f32]; R],
    w: Mat<'m>,
    col: usize,
    out: &'t mut [&'r mut [f32]],
}

impl<S: Simd, const DOTS: bool, const R: usize, const C: usize> NullaryFnOnce
    for Tile<'_, '_, '_, S, DOTS, R, C>
{
    type Output = ();

    #[inline(always)]
    fn call(self) {
        if DOTS { self.dots() } else { self.axpys() }
    }
}

// Plain loops throughout: what happens in closures of `from_fn` would not be compiled for the vectors of `S`.
impl<S: Simd, const DOTS: bool, const R: usize, const C: usize> Tile<'_, '_, '_, S, DOTS, R, C> {
    /// Where `w` has contiguous rows: a sum per vector of columns, over the inner dimension one by one. The last
    /// vector of all may be a part of one.
    #[inline(always)]
    fn axpys(self) {
        let Self { simd, mut x, w, col, out } = self;
        let to = (col + C * S::F32_LANES).min(w.cols);
        for x in &mut x {
            *x = &x[..w.rows];
        }
        let mut sums = [[simd.splat_f32s(0.0); C]; R];
        for k in 0..w.rows {
            let weights = &w.row(k)[col..to];
            let weights: [S::f32s; C] = match S::as_simd_f32s(weights).0.as_array() {
                Some(weights) => *weights,
                None => [simd.partial_load_f32s(weights); C],
            };
            for (sums, x) in sums.iter_mut().zip(x) {
                add(simd, sums, simd.splat_f32s(x[k]), weights);
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            for (sum, out) in sums.iter().zip(out[col..to].chunks_mut(S::F32_LANES)) {
                simd.partial_store_f32s(out, *sum);
            }
        }
    }

    /// Where `w` has contiguous columns: a sum per column, over the inner dimension vector by vector.
    #[inline(always)]
    fn dots(self) {
        let Self { simd, x, w, col, out } = self;
        let vectors = w.rows / S::F32_LANES;
        let (mut columns, mut rows) = ([(&[][..], &[][..]); C], [(&[][..], &[][..]); R]);
        for (c, column) in columns.iter_mut().enumerate() {
            let (whole, rest) = S::as_simd_f32s(w.col(col + c));
            *column = (&whole[..vectors], rest);
        }
        for (row, x) in rows.iter_mut().zip(x) {
            let (whole, rest) = S::as_simd_f32s(x);
            *row = (&whole[..vectors], rest);
        }
        let zero = simd.splat_f32s(0.0);
        let mut sums = [[zero; C]; R];
        let mut weights = [zero; C];
        for k in 0..vectors {
            for (weight, column) in weights.iter_mut().zip(columns) {
                *weight = column.0[k];
            }
            for (sums, row) in sums.iter_mut().zip(rows) {
                add(simd, sums, row.0[k], weights);
            }
        }
        if !w.rows.is_multiple_of(S::F32_LANES) {
            for (weight, column) in weights.iter_mut().zip(columns) {
                *weight = simd.partial_load_f32s(column.1);
            }
            for (sums, row) in sums.iter_mut().zip(rows) {
                add(simd, sums, simd.partial_load_f32s(row.1), weights);
            }
        }
        for (sums, out) in sums.iter().zip(out) {
            for (sum, out) in sums.iter().zip(&mut out[col..]) {
                *out = simd.reduce_sum_f32s(*sum);
            }
        }
    }
}

/// `sums[c] += value * weights[c]`
#[inline(always)]
fn add<S: Simd, const C: usize>(
    simd: S,
    sums: &mut [S::f32s; C],
    value: S::f32s,
    weights: [S::f32s; C],
) {
    for (sum, weight) in sums.iter_mut().zip(weights) {
        *sum = simd.mul_add_f32s(value, weight, *sum);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_product_and_no_cut_changes_a_bit(
            (rows, depth, cols) in (1usize..=SOME_ROWS, 1usize..80, 1usize..150),
            cut in 1usize..149,
            by_rows: bool,
        ) {
            let number = |i: usize| ((i * 7919 % 331) as f32 - 165.0) / 64.0;
            let x: Vec<f32> = (0..rows * depth).map(number).collect();
            let w: Vec<f32> = (0..depth * cols).map(|i| number(i + 17)).collect();
            let strides = if by_rows { (cols, 1) } else { (1, depth) };
            let lhs = Mat::new(&x, (rows, depth), (depth, 1)).unwrap();
            let rhs = Mat::new(&w, (depth, cols), strides).unwrap();
            let run = |rhs: Mat<'_>| {
                let mut out = vec![f32::NAN; rows * rhs.cols];
                let mut slices: Vec<&mut [f32]> = out.chunks_mut(rhs.cols).collect();
                multiply(&mut slices, lhs, rhs);
                out
            };
            let whole = run(rhs);
            for r in 0..rows {
                for c in 0..cols {
                    let at = |k| w[k * strides.0 + c * strides.1];
                    let want: f64 = (0..depth).map(|k| f64::from(x[r * depth + k] * at(k))).sum();
                    prop_assert!((f64::from(whole[r * cols + c]) - want).abs() < 1e-3 * (1.0 + want.abs()));
                }
            }
            let cut = cut.min(cols);
            let left = run(rhs.block((0, depth), (0, cut)));
            for r in 0..rows {
                prop_assert_eq!(&left[r * cut..][..cut], &whole[r * cols..][..cut]);
            }
        }
    }
}
