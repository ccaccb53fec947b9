//! `Mixer`: SAELens' mixing buffer (`sae_lens/training/mixing_buffer.py`, version 6.54).
//!
//! Items come in chunks. When enough are there, they are shuffled and served from the front, but for a
//! share that stays and mixes with what comes next.

use std::collections::VecDeque;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// How much is mixed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MixOptions {
    /// Items that must be there before any are served.
    pub buffer_size: usize,
    /// Items are served in multiples of this.
    pub batch_size: usize,
    /// Share of `buffer_size` that stays when the buffer is served; 0 serves in order of arrival.
    pub mix_fraction: f64,
    /// Seed of the shuffles.
    pub seed: u64,
}

/// Mixing that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BadMix {
    /// The buffer never holds a batch.
    #[error("the mixing buffer holds {buffer_size} rows, a batch needs {batch_size}")]
    Small {
        /// Rows of the buffer.
        buffer_size: usize,
        /// Rows of a batch.
        batch_size: usize,
    },
    /// A share that is none.
    #[error("the mixing fraction is {0}, expected 0 to 1")]
    Fraction(f64),
}

/// The buffer: items in the order in which they will be served, as far as that is known.
#[derive(Clone, Debug)]
pub struct Mixer<T> {
    options: MixOptions,
    items: VecDeque<T>,
    /// Items at the front that may be served.
    ready: usize,
    shuffles: u64,
}

impl<T> Mixer<T> {
    /// An empty buffer.
    ///
    /// # Errors
    /// A buffer smaller than a batch, or a share outside 0 to 1.
    pub fn new(options: MixOptions) -> Result<Self, BadMix> {
        let MixOptions { buffer_size, batch_size, mix_fraction, .. } = options;
        if buffer_size < batch_size || batch_size == 0 {
            return Err(BadMix::Small { buffer_size, batch_size });
        }
        if !(0.0..=1.0).contains(&mix_fraction) {
            return Err(BadMix::Fraction(mix_fraction));
        }
        Ok(Self { options, items: VecDeque::new(), ready: 0, shuffles: 0 })
    }

    /// Take a chunk. What was ready to be served should have been.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn push(&mut self, chunk: impl IntoIterator<Item = T>) {
        self.items.extend(chunk);
        let MixOptions { buffer_size, batch_size, mix_fraction, seed } = self.options;
        if self.items.len() < buffer_size {
            return;
        }
        if mix_fraction > 0.0 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(self.shuffles);
            self.shuffles += 1;
            self.items.make_contiguous().shuffle(&mut rng);
        }
        let keep = (buffer_size as f64 * mix_fraction) as usize;
        let batches = (self.items.len().saturating_sub(keep) / batch_size).max(1);
        self.ready = (batches * batch_size).min(self.items.len());
    }

    /// Nothing more comes: the whole batches left may be served.
    pub fn finish(&mut self) {
        self.ready = self.items.len() / self.options.batch_size * self.options.batch_size;
    }

    /// The next item, if one is ready.
    pub fn pop(&mut self) -> Option<T> {
        self.ready = self.ready.checked_sub(1)?;
        self.items.pop_front()
    }

    /// Items that may be served now.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Items in the buffer.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items, in the order in which they are held.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// The same buffer with every item replaced.
    ///
    /// # Errors
    /// What `f` returns.
    pub fn try_map<U, E>(self, f: impl FnMut(T) -> Result<U, E>) -> Result<Mixer<U>, E> {
        let items = self.items.into_iter().map(f).collect::<Result<_, E>>()?;
        Ok(Mixer { options: self.options, items, ready: self.ready, shuffles: self.shuffles })
    }
}

#[cfg(test)]
mod prop {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn what_is_served_is_what_came_each_once(
            chunks in vec(0usize..40, 0..12),
            batch_size in 1usize..8,
            more in 0usize..40,
            mix in 0usize..4,
        ) {
            let options = MixOptions {
                buffer_size: batch_size + more,
                batch_size,
                mix_fraction: mix as f64 / 4.0,
                seed: 7,
            };
            let mut mixer = Mixer::new(options).unwrap();
            let (mut arrived, mut served) = (0, Vec::new());
            for n in chunks {
                mixer.push(arrived..arrived + n);
                arrived += n;
                while let Some(item) = mixer.pop() {
                    prop_assert!(item < arrived);
                    served.push(item);
                }
                prop_assert_eq!(served.len() % batch_size, 0);
            }
            mixer.finish();
            while let Some(item) = mixer.pop() {
                served.push(item);
            }
            let left = arrived - served.len();
            prop_assert!(left < batch_size);
            let mut once = served.clone();
            once.sort_unstable();
            once.dedup();
            prop_assert_eq!(once.len(), served.len());
            if mix == 0 {
                prop_assert!(served.is_sorted());
            }
        }
    }
}
