//! How codes lie in words, and the kernels that widen them to f32 in registers.
//!
//! A word holds a code of each of several vectors: of a block, code `16 k + i` is part `k` of word `i`. So a vector
//! of words, shifted, gives one vector of consecutive codes after another.

use pulp::{Arch, Simd, WithSimd};

use super::{Bits, Format};

/// Words of a block.
pub(super) const WORDS: usize = 16;
/// Rows that meet each weight while it is in a register.
pub(super) const FEW_ROWS: usize = 4;
/// Sums that are independent of each other.
const SUMS: usize = 4;

/// One row, or whole blocks of one.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) words: &'a [u32],
    /// One number per group.
    pub(super) scales: &'a [f32],
    /// One number per group, or none at all.
    pub(super) offsets: &'a [f32],
}

/// Put codes of whole blocks into words.
pub(super) fn pack(bits: Bits, codes: &[u8], words: &mut Vec<u32>) {
    for block in codes.chunks_exact(bits.block()) {
        for i in 0..WORDS {
            let part = |k: usize| u32::from(block[k * WORDS + i]) << bits.shift(k);
            words.push((0..bits.per_word()).fold(0, |word, k| word | part(k)));
        }
    }
}

/// The codes in words of whole blocks.
pub(super) fn unpack(bits: Bits, words: &[u32], codes: &mut Vec<u8>) {
    for block in words.chunks_exact(WORDS) {
        for k in 0..bits.per_word() {
            let code = |word: &u32| (word >> bits.shift(k)) & bits.mask();
            codes.extend(block.iter().map(|word| code(word).to_le_bytes()[0]));
        }
    }
}

/// A [`Format`] that is known when code is compiled.
trait Layout {
    const BITS: Bits;
    const GROUP: usize;
    const OFFSETS: bool;
}

struct Known<const EIGHT: bool, const GROUP: usize, const OFFSETS: bool>;

impl<const EIGHT: bool, const GROUP: usize, const OFFSETS: bool> Layout
    for Known<EIGHT, GROUP, OFFSETS>
{
    const BITS: Bits = if EIGHT { Bits::Eight } else { Bits::Four };
    const GROUP: usize = GROUP;
    const OFFSETS: bool = OFFSETS;
}

/// What is compiled for every format and for all kinds of vectors.
trait Kernel {
    fn run<S: Simd, F: Layout>(self, simd: S);
}

struct OfFormat<K>(Format, K);

impl<K: Kernel> WithSimd for OfFormat<K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self(format, kernel) = self;
        match (format.bits, format.group, format.offsets) {
            (Bits::Four, 32, true) => kernel.run::<S, Known<false, 32, true>>(simd),
            (Bits::Four, 32, false) => kernel.run::<S, Known<false, 32, false>>(simd),
            (Bits::Four, _, true) => kernel.run::<S, Known<false, 16, true>>(simd),
            (Bits::Four, _, false) => kernel.run::<S, Known<false, 16, false>>(simd),
            (Bits::Eight, 32, true) => kernel.run::<S, Known<true, 32, true>>(simd),
            (Bits::Eight, 32, false) => kernel.run::<S, Known<true, 32, false>>(simd),
            (Bits::Eight, _, true) => kernel.run::<S, Known<true, 16, true>>(simd),
            (Bits::Eight, _, false) => kernel.run::<S, Known<true, 16, false>>(simd),
        }
    }
}

fn run(format: Format, kernel: impl Kernel) {
    Arch::new().dispatch(OfFormat(format, kernel));
}

/// An f32 whose last bits count ones: `2^23`.
const ONES: u32 = 0x4b00_0000;

/// Codes number `k` of some words as f32.
#[inline(always)]
fn codes<S: Simd, F: Layout>(simd: S, words: S::u32s, k: usize) -> S::f32s {
    let shift = simd.splat_u32s(F::BITS.shift(k));
    let code =
        simd.and_u32s(simd.wrapping_dyn_shr_u32s(words, shift), simd.splat_u32s(F::BITS.mask()));
    let counted = simd.transmute_f32s_u32s(simd.or_u32s(code, simd.splat_u32s(ONES)));
    simd.sub_f32s(counted, simd.splat_f32s(f32::from_bits(ONES) + f32::from(F::BITS.zero())))
}

/// Weights number `k` of block `b`, whose codes these are.
#[inline(always)]
fn weights<S: Simd, F: Layout>(
    simd: S,
    row: Row<'_>,
    (b, k): (usize, usize),
    codes: S::f32s,
) -> S::f32s {
    let group = (b * F::BITS.block() + k * WORDS) / F::GROUP;
    // Rounded twice, as files of this kind are read everywhere.
    let scaled = simd.mul_f32s(codes, simd.splat_f32s(row.scales[group]));
    if F::OFFSETS { simd.add_f32s(scaled, simd.splat_f32s(row.offsets[group])) } else { scaled }
}

/// Vectors of a block's words.
#[inline(always)]
const fn vectors<S: Simd>() -> usize {
    WORDS / S::F32_LANES
}

/// The weights of whole blocks, in order.
pub(super) fn widen(format: Format, to: &mut [f32], row: Row<'_>) {
    run(format, Widen { to, row });
}

struct Widen<'a> {
    to: &'a mut [f32],
    row: Row<'a>,
}

impl Kernel for Widen<'_> {
    #[inline(always)]
    fn run<S: Simd, F: Layout>(self, simd: S) {
        for (b, to) in self.to.chunks_exact_mut(F::BITS.block()).enumerate() {
            let (words, _) = S::as_simd_u32s(&self.row.words[b * WORDS..][..WORDS]);
            let (to, _) = S::as_mut_simd_f32s(to);
            for k in 0..F::BITS.per_word() {
                for (v, words) in words.iter().enumerate() {
                    let codes = codes::<S, F>(simd, *words, k);
                    to[k * vectors::<S>() + v] = weights::<S, F>(simd, self.row, (b, k), codes);
                }
            }
        }
    }
}

/// `y[r][j] = x[r] . row(j)`, with `width` values in each `y[r]`; `x` has whole blocks.
///
/// # Panics
/// More than [`FEW_ROWS`] rows.
pub(super) fn dots<'a>(
    format: Format,
    (y, width): (&mut [f32], usize),
    x: &[&[f32]],
    row: impl Fn(usize) -> Row<'a>,
) {
    match *x {
        [] => {}
        [a] => run(format, Dots { y, width, x: [a], row }),
        [a, b] => run(format, Dots { y, width, x: [a, b], row }),
        [a, b, c] => run(format, Dots { y, width, x: [a, b, c], row }),
        [a, b, c, d] => run(format, Dots { y, width, x: [a, b, c, d], row }),
        _ => panic!("{} rows are not few", x.len()),
    }
}

struct Dots<'y, 'x, W, const R: usize> {
    y: &'y mut [f32],
    width: usize,
    x: [&'x [f32]; R],
    row: W,
}

impl<'a, W: Fn(usize) -> Row<'a>, const R: usize> Kernel for Dots<'_, '_, W, R> {
    #[inline(always)]
    fn run<S: Simd, F: Layout>(self, simd: S) {
        for j in 0..self.width {
            let sums = dot::<S, F, R>(simd, (self.row)(j), self.x);
            for (y, sum) in self.y.chunks_exact_mut(self.width).zip(sums) {
                y[j] = sum;
            }
        }
    }
}

#[inline(always)]
fn dot<S: Simd, F: Layout, const R: usize>(simd: S, row: Row<'_>, x: [&[f32]; R]) -> [f32; R] {
    let mut sums = [[simd.splat_f32s(0.0); SUMS]; R];
    for (b, words) in row.words.chunks_exact(WORDS).enumerate() {
        let (words, _) = S::as_simd_u32s(words);
        let mut parts: [&[S::f32s]; R] = [&[]; R];
        for (part, x) in parts.iter_mut().zip(x) {
            *part = S::as_simd_f32s(&x[b * F::BITS.block()..][..F::BITS.block()]).0;
        }
        for k in 0..F::BITS.per_word() {
            for (v, words) in words.iter().enumerate() {
                let w = weights::<S, F>(simd, row, (b, k), codes::<S, F>(simd, *words, k));
                for r in 0..R {
                    let sum = &mut sums[r][k % SUMS];
                    *sum = simd.mul_add_f32s(w, parts[r][k * vectors::<S>() + v], *sum);
                }
            }
        }
    }
    let mut out = [0f32; R];
    for (out, [a, b, c, d]) in out.iter_mut().zip(sums) {
        *out = simd.reduce_sum_f32s(simd.add_f32s(simd.add_f32s(a, b), simd.add_f32s(c, d)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All kinds of vectors that this machine has, and none.
    #[test]
    fn any_width_of_vectors_gives_the_same_weights_and_sums() {
        for (bits, group) in
            [(Bits::Four, 32), (Bits::Four, 16), (Bits::Eight, 32), (Bits::Eight, 16)]
        {
            let format = Format { bits, group, offsets: true };
            let n = 2 * bits.block();
            let codes: Vec<u8> = (0..n).map(|i| (i * 37 % 16).to_le_bytes()[0]).collect();
            let mut words = Vec::new();
            pack(bits, &codes, &mut words);
            let scales: Vec<f32> = (0..n / group).map(|i| 0.5 + i as f32).collect();
            let row = Row { words: &words, scales: &scales, offsets: &scales };
            let x: Vec<f32> = (0..n).map(|i| (i % 5) as f32 - 2.0).collect();
            let zero = f32::from(bits.zero());
            let weight =
                |i: usize| (f32::from(codes[i]) - zero) * scales[i / group] + scales[i / group];
            let want: Vec<f32> = (0..n).map(weight).collect();
            let sum: f32 = want.iter().zip(&x).map(|(w, x)| w * x).sum();
            let check = |by: &dyn Fn(&mut [f32], &mut [f32])| {
                let (mut wide, mut y) = (vec![f32::NAN; n], [f32::NAN]);
                by(&mut wide, &mut y);
                assert_eq!(wide, want, "{format:?}");
                assert!((y[0] - sum).abs() < 1e-4 * (1.0 + sum.abs()), "{format:?}: {y:?} {sum}");
            };
            macro_rules! with {
                ($simd:expr) => {
                    check(&|to, y| {
                        $simd.vectorize(With($simd, OfFormat(format, Widen { to, row })));
                        let dots = Dots { y, width: 1, x: [&x[..]], row: |_| row };
                        $simd.vectorize(With($simd, OfFormat(format, dots)));
                    })
                };
            }
            with!(pulp::Scalar::new());
            #[cfg(target_arch = "x86_64")]
            {
                if let Some(simd) = pulp::x86::V3::try_new() {
                    with!(simd);
                }
                if let Some(simd) = pulp::x86::V4::try_new() {
                    with!(simd);
                }
            }
        }
    }

    struct With<S, K>(S, OfFormat<K>);

    impl<S: Simd, K: Kernel> pulp::NullaryFnOnce for With<S, K> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            self.1.with_simd(self.0);
        }
    }
}
