//! The `k` largest values of a row, or the `k` largest magnitudes, from the whole row or piece by piece.

/// Values that are looked at together: if none is large enough, none is looked at alone.
const GLANCE: usize = 16;

/// A value and its index as one number: the larger value has the larger key, of equal values the one
/// with the lower index. NaN counts as smallest.
type Key = u64;

fn key(index: u32, value: f32) -> Key {
    let bits = value.to_bits();
    let ordered = match (value.is_nan(), bits >> 31) {
        (true, _) => 0,
        (_, 0) => bits | 1 << 31,
        _ => !bits,
    };
    // (Zero of either sign is the same value.)
    let ordered = if value == 0.0 { 1 << 31 } else { ordered };
    u64::from(ordered) << 32 | u64::from(!index)
}

#[allow(clippy::cast_possible_truncation)] // the halves are meant
fn index_of(key: Key) -> u32 {
    !(key as u32)
}

/// The `k` largest values of a row with their indices, in order of index. NaN counts as smallest.
#[allow(clippy::cast_possible_truncation)] // a row is never longer than u32::MAX
pub fn top_k_row(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut keys: Vec<Key> = row.iter().enumerate().map(|(i, v)| key(i as u32, *v)).collect();
    largest(&mut keys, k);
    keys.into_iter().map(|key| (index_of(key), row[index_of(key) as usize])).collect()
}

/// Keep the `k` largest, in their order; back comes the smallest of them if any had to go.
fn largest(keys: &mut Vec<Key>, k: usize) -> Option<Key> {
    if k == 0 {
        keys.clear();
    }
    if k >= keys.len() {
        return None;
    }
    let mut ranked = keys.clone();
    let (_, bar, _) = ranked.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    let bar = *bar;
    keys.retain(|key| *key >= bar);
    Some(bar)
}

/// Collects the `k` largest values above a floor, of a row that comes piece by piece from left to
/// right; with `MAGNITUDE`, values are ranked without their signs, and keep them.
///
/// A value is kept only if it exceeds the `k`-th largest so far, so that nearly all of a long row
/// costs one comparison each. NaN is taken, as the smallest of all, so that it is seen.
#[derive(Clone, Debug)]
pub(super) struct Best<const MAGNITUDE: bool> {
    k: usize,
    least: f32,
    keys: Vec<Key>,
    values: Vec<f32>,
}

impl<const MAGNITUDE: bool> Best<MAGNITUDE> {
    /// What a value is ranked by.
    #[inline(always)]
    fn rank(value: f32) -> f32 {
        if MAGNITUDE { value.abs() } else { value }
    }

    /// Ranks must exceed `floor`.
    pub(super) fn above(floor: f32, k: usize) -> Self {
        Self { k, least: floor, keys: Vec::new(), values: Vec::new() }
    }

    /// Offer the next piece, whose first index is `first`.
    #[inline(always)]
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    pub(super) fn offer(&mut self, first: usize, piece: &[f32]) {
        for (i, values) in piece.chunks(GLANCE).enumerate() {
            let least = self.least;
            if values.iter().fold(false, |any, v| any | !(Self::rank(*v) <= least)) {
                self.keep(first + i * GLANCE, values);
            }
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::neg_cmp_op_on_partial_ord)]
    fn keep(&mut self, first: usize, values: &[f32]) {
        for (j, value) in values.iter().enumerate() {
            let rank = Self::rank(*value);
            if !(rank <= self.least) {
                self.keys.push(key((first + j) as u32, rank));
                self.values.push(*value);
            }
        }
        if self.keys.len() > 2 * self.k + GLANCE {
            self.cut();
        }
    }

    /// Drop all but the `k` largest and raise the bar to the smallest of them.
    fn cut(&mut self) {
        let mut kept = self.keys.clone();
        let Some(bar) = largest(&mut kept, self.k) else { return };
        let mut keys = self.keys.iter();
        self.values.retain(|_| keys.next().is_some_and(|key| *key >= bar));
        self.keys = kept;
        let ranks = self.values.iter().copied().map(Self::rank);
        let least = ranks.fold(f32::INFINITY, f32::min);
        // (f32::min passes over NaN; with fewer numbers than k the bar stays where it is.)
        if self.values.iter().all(|v| !v.is_nan()) && least.is_finite() {
            self.least = least;
        }
    }

    /// The values of the `k` largest ranks, in order of index.
    pub(super) fn finish(mut self) -> Vec<(u32, f32)> {
        if self.k == 0 {
            return Vec::new();
        }
        self.cut();
        self.keys.iter().map(|key| index_of(*key)).zip(self.values).collect()
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
            let mut best = Best::<false>::above(0.0, k);
            for (i, piece) in row.chunks(37).enumerate() {
                best.offer(i * 37, piece);
            }
            let whole = top_k_row(&row, k).into_iter().filter(|(_, v)| *v > 0.0);
            assert_eq!(best.finish(), whole.collect::<Vec<_>>(), "k {k}");
        }
    }

    #[test]
    fn magnitudes_are_ranked_without_their_signs_and_keep_them() {
        let row: Vec<f32> = (0..300u32).map(|i| ((i * 7919) % 331) as f32 - 165.0).collect();
        let magnitudes: Vec<f32> = row.iter().map(|v| v.abs()).collect();
        for k in [1, 7, 200] {
            let mut best = Best::<true>::above(0.0, k);
            for (i, piece) in row.chunks(41).enumerate() {
                best.offer(i * 41, piece);
            }
            let whole = top_k_row(&magnitudes, k).into_iter().filter(|(_, v)| *v > 0.0);
            let want: Vec<_> = whole.map(|(i, _)| (i, row[i as usize])).collect();
            assert_eq!(best.finish(), want, "k {k}");
        }
    }

    #[test]
    fn a_row_of_nan_is_seen() {
        let mut best = Best::<false>::above(0.0, 2);
        best.offer(0, &[f32::NAN; 100]);
        assert_eq!(best.finish().len(), 2);
    }
}
