//! The `k` largest values of a row, from the whole row or piece by piece.

use std::cmp::Ordering;

/// Values that are looked at together: if none is large enough, none is looked at alone.
const GLANCE: usize = 16;

fn larger_first(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    let by_value = match (a.1.is_nan(), b.1.is_nan()) {
        (false, false) => b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal),
        (x, y) => x.cmp(&y),
    };
    by_value.then(a.0.cmp(&b.0))
}

/// The `k` largest values of a row with their indices, in order of index. NaN counts as smallest.
#[allow(clippy::cast_possible_truncation)] // a row is never longer than u32::MAX
pub fn top_k_row(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = row.iter().enumerate().map(|(i, v)| (i as u32, *v)).collect();
    largest(&mut all, k);
    all.sort_unstable_by_key(|(index, _)| *index);
    all
}

/// Keep the `k` largest, in any order.
fn largest(entries: &mut Vec<(u32, f32)>, k: usize) {
    if k == 0 {
        entries.clear();
    } else if k < entries.len() {
        entries.select_nth_unstable_by(k - 1, larger_first);
        entries.truncate(k);
    }
}

/// Collects the `k` largest values above a floor, of a row that comes piece by piece from left to
/// right.
///
/// A value is kept only if it exceeds the `k`-th largest so far, so that nearly all of a long row
/// costs one comparison each. NaN is taken, as the smallest of all, so that it is seen.
#[derive(Clone, Debug)]
pub(super) struct Best {
    k: usize,
    least: f32,
    entries: Vec<(u32, f32)>,
}

impl Best {
    /// Values must exceed `floor`.
    pub(super) fn above(floor: f32, k: usize) -> Self {
        Self { k, least: floor, entries: Vec::new() }
    }

    /// Offer the next piece, whose first index is `first`.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::neg_cmp_op_on_partial_ord)]
    pub(super) fn offer(&mut self, first: usize, piece: &[f32]) {
        for (i, values) in piece.chunks(GLANCE).enumerate() {
            let least = self.least;
            if values.iter().fold(false, |any, v| any | !(*v <= least)) {
                self.keep(first + i * GLANCE, values);
            }
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::neg_cmp_op_on_partial_ord)]
    fn keep(&mut self, first: usize, values: &[f32]) {
        for (j, value) in values.iter().enumerate() {
            if !(*value <= self.least) {
                self.entries.push(((first + j) as u32, *value));
            }
        }
        if self.entries.len() > 2 * self.k + GLANCE {
            largest(&mut self.entries, self.k);
            let least = self.entries.iter().map(|e| e.1).fold(f32::INFINITY, f32::min);
            // (f32::min passes over NaN; with fewer numbers than k the bar stays where it is.)
            if self.entries.iter().all(|e| !e.1.is_nan()) && least.is_finite() {
                self.least = least;
            }
        }
    }

    /// The `k` largest, in order of index.
    pub(super) fn finish(mut self) -> Vec<(u32, f32)> {
        largest(&mut self.entries, self.k);
        self.entries.sort_unstable_by_key(|(index, _)| *index);
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index() {
        assert_eq!(top_k_row(&[1.0, 2.0, 2.0, 2.0], 2), [(1, 2.0), (2, 2.0)]);
    }

    #[test]
    fn nan_is_never_preferred() {
        assert_eq!(top_k_row(&[f32::NAN, 1.0, 0.5], 2), [(1, 1.0), (2, 0.5)]);
    }

    #[test]
    fn k_beyond_the_row_keeps_everything() {
        assert_eq!(top_k_row(&[3.0, 1.0], 5).len(), 2);
        assert!(top_k_row(&[3.0, 1.0], 0).is_empty());
    }

    #[test]
    fn pieces_give_what_the_whole_row_gives() {
        let row: Vec<f32> = (0..1000u32).map(|i| ((i * 7919) % 331) as f32 - 50.0).collect();
        for k in [0, 1, 5, 64, 400] {
            let mut best = Best::above(0.0, k);
            for (i, piece) in row.chunks(37).enumerate() {
                best.offer(i * 37, piece);
            }
            let whole = top_k_row(&row, k).into_iter().filter(|(_, v)| *v > 0.0);
            assert_eq!(best.finish(), whole.collect::<Vec<_>>(), "k {k}");
        }
    }

    #[test]
    fn a_row_of_nan_is_seen() {
        let mut best = Best::above(0.0, 2);
        best.offer(0, &[f32::NAN; 100]);
        assert_eq!(best.finish().len(), 2);
    }
}
