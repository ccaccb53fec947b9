//! A seeded permutation of `0..n` that needs no memory: any place can be asked for at once.
//!
//! A Feistel network on the next power of four, walked until it lands inside `0..n` (Black and
//! Rogaway, "Ciphers with arbitrary finite domains", 2002).

const ROUNDS: u64 = 6;

/// A permutation of `0..n`.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    n: u64,
    half_bits: u32,
    key: u64,
}

impl Permutation {
    /// The permutation of `0..n` that belongs to `seed` and `epoch`.
    pub fn new(n: u64, seed: u64, epoch: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        Self { n, half_bits, key: scramble(seed ^ scramble(epoch)) }
    }

    /// What stands at place `i`.
    ///
    /// # Panics
    /// `i` is not below `n`.
    pub fn at(&self, i: u64) -> u64 {
        assert!(i < self.n, "place {i} of a permutation of {}", self.n);
        let mut x = i;
        loop {
            x = self.network(x);
            if x < self.n {
                return x;
            }
        }
    }

    fn network(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for round in 0..ROUNDS {
            let mixed = scramble(right ^ self.key.wrapping_add(scramble(round))) & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half_bits | right
    }
}

/// SplitMix64's finaliser.
fn scramble(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod prop {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn every_place_has_its_own(n in 1u64..2000, seed in any::<u64>(), epoch in 0u64..5) {
            let permutation = Permutation::new(n, seed, epoch);
            let mut all: Vec<u64> = (0..n).map(|i| permutation.at(i)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let order = |seed, epoch| -> Vec<u64> {
            let p = Permutation::new(100, seed, epoch);
            (0..100).map(|i| p.at(i)).collect()
        };
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        assert_eq!(order(1, 0), order(1, 0));
        // Neighbours end up far apart: nothing like the identity.
        assert!(order(1, 0).windows(2).filter(|w| w[0] + 1 == w[1]).count() < 10);
    }
}
