//! Reading a cache in a globally shuffled, seeded order, from any place on.

use std::path::Path;

use candle_core::{Device, Tensor};
use memmap2::Mmap;
use rayon::prelude::*;
use sae_core::source::{ActivationSource, Position, SourceSpec};

use super::header::{CacheInfo, HEADER_BYTES, NUMBER_BYTES, decode};
use super::map::map;
use crate::Result;
use crate::permute::Permutation;

/// In which order rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were written, once.
    Written,
    /// All of them shuffled, again and again, each time in another order.
    Shuffled {
        /// Seed of the order.
        seed: u64,
    },
}

/// A cache of activations on disk, memory-mapped.
pub struct Cached {
    bytes: Mmap,
    info: CacheInfo,
    rows: u64,
    order: Order,
    spec: SourceSpec,
    at: u64,
}

impl Cached {
    /// Open a cache.
    ///
    /// # Errors
    /// Not a cache, damaged, or cut off.
    pub fn open(path: &Path, order: Order) -> Result<Self> {
        let bytes = map(path)?;
        let (info, rows) = decode(path, &bytes)?;
        let known = match order {
            Order::Written => Some(rows),
            Order::Shuffled { .. } => None,
        };
        let spec = SourceSpec { hook: info.hook, width: info.width, rows: known };
        Ok(Self { bytes, info, rows, order, spec, at: 0 })
    }

    /// What the cache holds.
    pub fn info(&self) -> &CacheInfo {
        &self.info
    }

    /// How many rows are in the file.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The place in the file of each of the next `n` rows.
    fn places(&self, n: u64) -> Vec<u64> {
        match self.order {
            Order::Written => (self.at..(self.at + n).min(self.rows)).collect(),
            Order::Shuffled { seed } => {
                let epoch = |at: u64| Permutation::new(self.rows, seed, at / self.rows);
                let (first, last) = (self.at, self.at + n);
                let mut permutation = epoch(first);
                (first..last)
                    .map(|at| {
                        if at % self.rows == 0 {
                            permutation = epoch(at);
                        }
                        permutation.at(at % self.rows)
                    })
                    .collect()
            }
        }
    }

    fn copy(&self, place: u64, to: &mut [f32]) {
        let width = self.info.width * NUMBER_BYTES;
        // The length was checked on opening, so every place lies inside the file.
        let from = usize::try_from(place).map_or(usize::MAX, |p| HEADER_BYTES + p * width);
        if let Some(row) = self.bytes.get(from..from + width) {
            for (v, bytes) in to.iter_mut().zip(row.chunks_exact(NUMBER_BYTES)) {
                *v = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
    }
}

impl ActivationSource for Cached {
    fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    fn next(&mut self, rows: usize) -> sae_core::Result<Option<Tensor>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let places = self.places(rows as u64);
        if places.is_empty() {
            return Ok(None);
        }
        let width = self.info.width;
        let mut values = vec![0f32; places.len() * width];
        values
            .par_chunks_mut(width.max(1))
            .zip(&places)
            .for_each(|(row, place)| self.copy(*place, row));
        self.at += places.len() as u64;
        Ok(Some(Tensor::from_vec(values, (places.len(), width), &Device::Cpu)?))
    }

    fn position(&self) -> Position {
        Position { row: self.at }
    }

    fn seek(&mut self, to: Position) -> sae_core::Result<()> {
        if let (Order::Written, true) = (self.order, to.row > self.rows) {
            let beyond = crate::Error::Beyond { row: to.row, rows: self.rows };
            return Err(crate::error::into_core(beyond));
        }
        self.at = to.row;
        Ok(())
    }
}
