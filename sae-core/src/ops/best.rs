//! The `k` largest values of a row, or the `k` largest magnitudes, from the whole row or piece by piece.

/// Values that are looked at together: if none is large enough, none is looked at alone.
const GLANCE: usize = 16;
/// Values whose maximum is taken for a first guess at the bar.
const GROUP: usize = 8;

/// A value and its index as one number: the larger value has the larger key, of equal values the one
/// with the lower index. NaN counts as smallest.
type Key = u64;

fn key(index: u32, value: f32) -> Key {
    u64::from(ordered(value)) << 32 | u64::from(!index)
}

/// A number that rises with the value, 0 for NaN.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    match (value.is_nan(), bits >> 31) {
        (true, _) => 0,
        // (Zero of either sign is the same value.)
        (_, 0) => bits | 1 << 31,
        _ if value == 0.0 => 1 << 31,
        _ => !bits,
    }
}

/// The value of a number, NaN for any NaN.
fn from_ordered(ordered: u32) -> f32 {
    match ordered {
        0 => f32::NAN,
        ordered if ordered >> 31 == 1 => f32::from_bits(ordered & !(1 << 31)),
        ordered => f32::from_bits(!ordered),
    }
}

#[allow(clippy::cast_possible_truncation)] // the halves are meant
fn index_of(key: Key) -> u32 {
    !(key as u32)
}

#[allow(clippy::cast_possible_truncation)] // the halves are meant
fn value_of(key: Key) -> f32 {
    from_ordered((key >> 32) as u32)
}

/// The `k` largest values of a row with their indices, in order of index. NaN counts as smallest.
#[allow(clippy::cast_possible_truncation)] // a row is never longer than u32::MAX
pub fn top_k_row(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut keys: Vec<Key> = row.iter().enumerate().map(|(i, v)| key(i as u32, *v)).collect();
    largest(&mut keys, k);
    keys.into_iter().map(|key| (index_of(key), row[index_of(key) as usize])).collect()
}

/// Keep the `k` largest, in their order.
fn largest(keys: &mut Vec<Key>, k: usize) {
    if k == 0 {
        keys.clear();
    }
    if k < keys.len() {
        let bar = kth_largest(&mut keys.clone(), k);
        keys.retain(|key| *key >= bar);
    }
}

/// The `k`-th largest, `0 < k <= keys.len()`; the keys change their order.
fn kth_largest(keys: &mut [Key], k: usize) -> Key {
    *keys.select_nth_unstable(keys.len() - k).1
}

/// Collects the `k` largest values above a floor, of a row that comes piece by piece in any order; with
/// `MAGNITUDE`, values are ranked without their signs, and keep them.
///
/// A value is kept only if it reaches the `k`-th largest so far, so that nearly all of a long row
/// costs one comparison each. NaN is taken, as the smallest of all, so that it is seen.
#[derive(Clone, Debug)]
pub(super) struct Best<const MAGNITUDE: bool> {
    k: usize,
    /// Ranks must exceed it.
    least: f32,
    /// Whether `k` values are known to exceed `least`.
    full: bool,
    found: Vec<(Key, f32)>,
}

impl<const MAGNITUDE: bool> Best<MAGNITUDE> {
    /// What a value is ranked by.
    #[inline(always)]
    fn rank(value: f32) -> f32 {
        if MAGNITUDE { value.abs() } else { value }
    }

    /// Ranks must exceed `floor`.
    pub(super) fn above(floor: f32, k: usize) -> Self {
        Self { k, least: floor, full: false, found: Vec::new() }
    }

    /// Offer the next piece, whose first index is `first`.
    #[inline(always)]
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    pub(super) fn offer(&mut self, first: usize, piece: &[f32]) {
        if self.k == 0 {
            return;
        }
        if !self.full {
            self.guess(piece);
        }
        let (groups, rest) = piece.as_chunks::<GLANCE>();
        for (i, values) in groups.iter().enumerate() {
            let least = self.least;
            if values.iter().fold(false, |any, v| any | !(Self::rank(*v) <= least)) {
                self.keep(first + i * GLANCE, values);
            }
        }
        self.keep(first + groups.len() * GLANCE, rest);
    }

    /// So high are `k` values at least: lower ones are not wanted. (Equal ones are, if their index is
    /// lower.)
    #[inline(always)]
    fn raise(&mut self, bar: f32) {
        // (f32::max passes over NaN: with fewer numbers than k the bar stays where it is.)
        self.least = self.least.max(bar.next_down());
        self.full = true;
    }

    /// Raise the bar to what `k` values of `piece` reach at least: the `k`-th largest of the maxima of
    /// its groups, each of which is another value.
    #[inline(always)]
    fn guess(&mut self, piece: &[f32]) {
        let groups = piece.len() / GROUP;
        // (With hardly more groups than wanted values, the bar would be too low to be worth it.)
        if groups < 2 * self.k {
            return;
        }
        let mut maxima = vec![f32::NEG_INFINITY; groups];
        for values in piece.chunks_exact(groups) {
            for (maximum, value) in maxima.iter_mut().zip(values) {
                let rank = Self::rank(*value);
                *maximum = if rank > *maximum { rank } else { *maximum };
            }
        }
        let (_, bar, _) = maxima.select_nth_unstable_by(groups - self.k, f32::total_cmp);
        self.raise(*bar);
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, clippy::neg_cmp_op_on_partial_ord)]
    fn keep(&mut self, first: usize, values: &[f32]) {
        // Which ones, bit by bit: few are wanted, and which is no habit that a processor could learn.
        let mut wanted = 0u32;
        for (j, value) in values.iter().enumerate() {
            wanted |= u32::from(!(Self::rank(*value) <= self.least)) << j;
        }
        while wanted != 0 {
            let j = wanted.trailing_zeros() as usize;
            wanted &= wanted - 1;
            self.found.push((key((first + j) as u32, Self::rank(values[j])), values[j]));
        }
        if self.found.len() > 2 * self.k + GLANCE {
            self.cut();
        }
    }

    /// Drop all but the `k` largest and raise the bar to the smallest of them.
    fn cut(&mut self) {
        if self.found.len() <= self.k {
            return;
        }
        let mut keys: Vec<Key> = self.found.iter().map(|(key, _)| *key).collect();
        let bar = kth_largest(&mut keys, self.k);
        self.found.retain(|(key, _)| *key >= bar);
        self.raise(value_of(bar));
    }

    /// The values of the `k` largest ranks, in order of index.
    pub(super) fn finish(mut self) -> Vec<(u32, f32)> {
        self.cut();
        self.found.sort_unstable_by_key(|(key, _)| index_of(*key));
        self.found.iter().map(|(key, value)| (index_of(*key), *value)).collect()
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
    fn a_long_first_piece_with_ties_and_nan_gives_what_the_whole_row_gives() {
        let value = |i: u32| if i.is_multiple_of(97) { f32::NAN } else { (i * 7919 % 13) as f32 };
        let row: Vec<f32> = (0..2000).map(value).collect();
        for k in [1, 5, 100, 125] {
            let mut best = Best::<false>::above(0.0, k);
            for (i, piece) in row.chunks(1600).enumerate() {
                best.offer(i * 1600, piece);
            }
            assert_eq!(best.finish(), top_k_row(&row, k), "k {k}");
        }
    }

    #[test]
    fn the_order_of_pieces_makes_no_difference() {
        let row: Vec<f32> = (0..3000u32).map(|i| (i * 7919 % 211) as f32).collect();
        for k in [1, 20, 300] {
            let mut best = Best::<false>::above(0.0, k);
            for (i, piece) in row.chunks(500).enumerate().rev() {
                best.offer(i * 500, piece);
            }
            assert_eq!(best.finish(), top_k_row(&row, k), "k {k}");
        }
    }

    #[test]
    fn keys_give_their_values_back() {
        for value in [0.0, 1.5, -1.5, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE] {
            assert_eq!(value_of(key(3, value)).to_bits(), value.to_bits());
        }
        assert!(value_of(key(3, f32::NAN)).is_nan());
    }

    #[test]
    fn a_row_of_nan_is_seen() {
        let mut best = Best::<false>::above(0.0, 2);
        best.offer(0, &[f32::NAN; 100]);
        assert_eq!(best.finish().len(), 2);
    }
}
