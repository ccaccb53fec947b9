//! Encoding that keeps the largest pre-activations of a whole batch.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use super::encode::encode_rows;
use super::gemm::Mat;
use crate::sae::Codes;

/// Pre-activations that are looked at together: if none passes, none is looked at alone.
const GLANCE: usize = 16;
/// Bits of a number that do not tell bins apart: bins are `2^-7` of their numbers wide.
const BELOW_BIN: u32 = 16;
/// Bins of the numbers that are not negative.
const BINS: usize = 1 << (31 - BELOW_BIN);

/// Codes of the `keep` largest entries of `x w` over all rows together, less those that are not
/// positive, after `prepare(col, products)` made them pre-activations: `x` `[rows, d_in]`, `w`
/// `[d_in, d_sae]`. Of equal entries the first ones stay; NaN is kept besides, so that it is seen.
///
/// # Panics
/// The inner dimensions differ: callers check shapes first.
pub fn encode_batch_best(
    x: Mat<'_>,
    w: Mat<'_>,
    keep: usize,
    prepare: impl Fn(usize, &mut [f32]) + Sync,
) -> Codes {
    if keep == 0 {
        return Codes::empty(x.rows, w.cols);
    }
    let bar = Bar::new(keep);
    let select = |col: usize, values: &mut [f32], kept: &mut Vec<(u32, f32)>| {
        prepare(col, values);
        let (least, before) = (bar.least(), kept.len());
        for (i, piece) in values.chunks(GLANCE).enumerate() {
            if piece.iter().fold(false, |any, h| any | passes(*h, least)) {
                let numbered = (col + i * GLANCE..).zip(piece);
                let passing = numbered.filter(|(_, h)| passes(**h, least));
                kept.extend(passing.map(|(j, h)| (index(j), *h)));
            }
        }
        bar.count(&kept[before..]);
    };
    encode_rows(x, w, select).keep_largest(keep)
}

/// NaN passes.
#[inline(always)]
fn passes(h: f32, least: f32) -> bool {
    h >= least || h.is_nan()
}

#[allow(clippy::cast_possible_truncation)] // no SAE has u32::MAX latents
fn index(i: usize) -> u32 {
    i as u32
}

/// Orders numbers that are not negative, NaN last.
fn rank(value: f32) -> u32 {
    value.to_bits() & (u32::MAX >> 1)
}

/// What an entry must reach at least, judged by the entries that were seen so far.
///
/// It rises while tiles are computed, in an order that depends on timing; what has passed is a superset
/// of the entries wanted, so that the end result does not.
struct Bar {
    wanted: usize,
    /// Entries after which the bar is looked at again.
    interval: usize,
    counts: Vec<AtomicUsize>,
    seen: AtomicUsize,
    /// The bits of the bar: they are ordered as the numbers are.
    least: AtomicU32,
}

impl Bar {
    fn new(wanted: usize) -> Self {
        Self {
            wanted,
            interval: (wanted / 8).max(1 << 10),
            counts: (0..BINS).map(|_| AtomicUsize::new(0)).collect(),
            seen: AtomicUsize::new(0),
            // The smallest number above zero.
            least: AtomicU32::new(1),
        }
    }

    fn least(&self) -> f32 {
        f32::from_bits(self.least.load(Relaxed))
    }

    /// Take note of entries that have passed.
    fn count(&self, entries: &[(u32, f32)]) {
        for (_, value) in entries {
            self.counts[(rank(*value) >> BELOW_BIN) as usize].fetch_add(1, Relaxed);
        }
        let before = self.seen.fetch_add(entries.len(), Relaxed);
        if (before + entries.len()) / self.interval != before / self.interval {
            self.raise();
        }
    }

    /// With as many entries as are wanted in some bins, nothing below them is wanted.
    fn raise(&self) {
        let mut above = 0;
        for bin in (0..=rank(f32::INFINITY) >> BELOW_BIN).rev() {
            above += self.counts[bin as usize].load(Relaxed);
            if above >= self.wanted {
                self.least.fetch_max(bin << BELOW_BIN, Relaxed);
                return;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    /// `[rows, cols]` numbers, as a product with the unit matrix.
    fn encode(values: &[f32], cols: usize, keep: usize) -> Codes {
        let rows = values.len() / cols;
        let unit: Vec<f32> =
            (0..cols * cols).map(|i| f32::from(u8::from(i / cols == i % cols))).collect();
        let (Some(x), Some(w)) =
            (Mat::new(values, (rows, cols), (cols, 1)), Mat::new(&unit, (cols, cols), (cols, 1)))
        else {
            return Codes::empty(0, 0);
        };
        encode_batch_best(x, w, keep, |_, _| {})
    }

    #[test]
    fn the_batch_shares_what_is_kept() {
        let codes = encode(&[1.0, 2.0, 3.0, 4.0, -5.0, -6.0, 0.5, -8.0], 4, 4);
        assert_eq!(
            (codes.row(0), codes.row(1)),
            ((&[0u32, 1, 2, 3][..], &[1.0f32, 2.0, 3.0, 4.0][..]), (&[][..], &[][..]))
        );
    }

    #[test]
    fn many_entries_equal_a_sort() {
        let values: Vec<f32> =
            (0..40_000u32).map(|i| ((i * 7919) % 10_007) as f32 / 97.0 - 40.0).collect();
        for keep in [0, 1, 777, 9_000, 30_000] {
            let codes = encode(&values, 100, keep);
            let mut sorted: Vec<f32> = values.iter().copied().filter(|v| *v > 0.0).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            sorted.truncate(keep);
            let mut got = codes.values().to_vec();
            got.sort_by(|a, b| b.total_cmp(a));
            assert_eq!(got, sorted, "keep {keep}");
            for row in 0..codes.rows() {
                let (indices, kept) = codes.row(row);
                for (i, v) in indices.iter().zip(kept) {
                    assert_eq!(values[row * 100 + *i as usize].to_bits(), v.to_bits());
                }
            }
        }
    }

    #[test]
    fn nan_is_seen() {
        let codes = encode(&[f32::NAN, 1.0, 2.0, 3.0], 2, 1);
        assert!(codes.values().iter().any(|v| v.is_nan()));
    }
}
