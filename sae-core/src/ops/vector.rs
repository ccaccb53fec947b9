//! Loops over slices, compiled for the widest vectors that the machine has.

use pulp::{Arch, NullaryFnOnce};

use super::element::Element;

/// Run `f`, whose body is marked `#[inline(always)]`, compiled for the widest vectors that the machine has.
///
/// pulp's own `dispatch` calls what it is given as an `FnOnce`; a closure that only borrows goes through
/// an adapter of rustc's there, which is not inlined, so that its loops stay as narrow as everywhere.
#[inline(always)]
pub fn widest<R>(f: impl FnMut() -> R) -> R {
    struct Call<F>(F);
    impl<R, F: FnMut() -> R> NullaryFnOnce for Call<F> {
        type Output = R;

        #[inline(always)]
        fn call(mut self) -> R {
            (self.0)()
        }
    }
    Arch::new().dispatch(Call(f))
}

/// `y += a * x`
#[inline(always)]
fn axpy<T: Element>(y: &mut [f32], a: f32, x: &[T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x.widen();
    }
}

/// Dot product in partial sums.
#[inline(always)]
fn dot<T: Element>(x: &[f32], y: &[T]) -> f32 {
    const LANES: usize = 32;
    let mut sums = [0f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let tail: f32 = xs.remainder().iter().zip(ys.remainder()).map(|(x, y)| x * y.widen()).sum();
    for (x, y) in xs.zip(ys) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane].widen();
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + tail
}

/// `y += sum_i a[i] * rows[i]`, four rows at a time.
#[inline(always)]
fn add_rows<'r, T: Element + 'r>(y: &mut [f32], a: &[f32], row: impl Fn(usize) -> &'r [T]) {
    let n = y.len();
    let mut i = 0;
    while i + 4 <= a.len() {
        let (r0, r1, r2, r3) = (&row(i)[..n], &row(i + 1)[..n], &row(i + 2)[..n], &row(i + 3)[..n]);
        let (a0, a1, a2, a3) = (a[i], a[i + 1], a[i + 2], a[i + 3]);
        for j in 0..n {
            let (w0, w1) = (a0 * r0[j].widen(), a1 * r1[j].widen());
            let (w2, w3) = (a2 * r2[j].widen(), a3 * r3[j].widen());
            y[j] += (w0 + w1) + (w2 + w3);
        }
        i += 4;
    }
    for (i, a) in a.iter().enumerate().skip(i) {
        axpy(y, *a, &row(i)[..n]);
    }
}

/// `y += sum_i a[i] * rows[i]`, with the rows found by `row`.
pub fn accumulate<'r, T: Element + 'r>(y: &mut [f32], a: &[f32], row: impl Fn(usize) -> &'r [T]) {
    widest(
        #[inline(always)]
        || add_rows(y, a, &row),
    );
}

/// `y[j] = x . rows[j]`, with the rows found by `row`.
pub fn dots<'r, T: Element + 'r>(y: &mut [f32], x: &[f32], row: impl Fn(usize) -> &'r [T]) {
    widest(
        #[inline(always)]
        || {
            for (j, y) in y.iter_mut().enumerate() {
                *y = dot(x, row(j));
            }
        },
    );
}

/// `y = f(x)`, element by element.
pub fn map<T: Copy>(y: &mut [f32], x: &[T], f: impl Fn(T) -> f32) {
    widest(
        #[inline(always)]
        || {
            for (y, x) in y.iter_mut().zip(x) {
                *y = f(*x);
            }
        },
    );
}

/// `y += x`
pub fn add(y: &mut [f32], x: &[f32]) {
    widest(
        #[inline(always)]
        || axpy(y, 1.0, x),
    );
}

/// Sum and sum of squares about a given centre, in f32 lanes.
pub fn sum(x: &[f32]) -> f32 {
    widest(
        #[inline(always)]
        || lanes(x, |v| v),
    )
}

/// `sum (x - centre)^2`
pub fn sum_squares(x: &[f32], centre: f32) -> f32 {
    widest(
        #[inline(always)]
        || {
            lanes(
                x,
                #[inline(always)]
                |v| (v - centre) * (v - centre),
            )
        },
    )
}

#[inline(always)]
fn lanes(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 32;
    let mut sums = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().map(|v| f(*v)).sum();
    for chunk in chunks {
        for lane in 0..LANES {
            sums[lane] += f(chunk[lane]);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + tail
}

/// `y = (x - centre) * scale`, then `* gain` and `+ bias` where given.
pub fn scale_shift(
    y: &mut [f32],
    x: &[f32],
    (centre, scale): (f32, f32),
    affine: Option<(&[f32], Option<&[f32]>)>,
) {
    widest(
        #[inline(always)]
        || match affine {
            None => {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = (x - centre) * scale;
                }
            }
            Some((gain, None)) => {
                for ((y, x), g) in y.iter_mut().zip(x).zip(gain) {
                    *y = (x - centre) * scale * g;
                }
            }
            Some((gain, Some(bias))) => {
                for (((y, x), g), b) in y.iter_mut().zip(x).zip(gain).zip(bias) {
                    *y = (x - centre) * scale * g + b;
                }
            }
        },
    );
}
