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

    /// How many of the next `rows` rows there are.
    fn left(&self, rows: u64) -> u64 {
        match self.order {
            Order::Written => rows.min(self.rows - self.at),
            Order::Shuffled { .. } => rows,
        }
    }

    /// The orders of the epochs that the next `rows` rows are in; none where rows come as they were written.
    fn epochs(&self, rows: u64) -> Vec<Permutation> {
        match self.order {
            Order::Written => Vec::new(),
            Order::Shuffled { seed } => {
                let (first, last) = (self.at / self.rows, (self.at + rows) / self.rows);
                (first..=last).map(|epoch| Permutation::new(self.rows, seed, epoch)).collect()
            }
        }
    }

    /// The place in the file of the `i`-th of the next rows, in `epochs` from [`Cached::epochs`].
    fn place(&self, epochs: &[Permutation], i: u64) -> u64 {
        let (first, at) = (self.at / self.rows, self.at + i);
        let epoch = usize::try_from(at / self.rows - first).ok().and_then(|e| epochs.get(e));
        epoch.map_or(at, |permutation| permutation.at(at % self.rows))
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
        let rows = usize::try_from(self.left(rows as u64)).unwrap_or(rows);
        if rows == 0 {
            return Ok(None);
        }
        let (width, epochs) = (self.info.width, self.epochs(rows as u64));
        let mut values = vec![0f32; rows * width];
        values
            .par_chunks_mut(width.max(1))
            .enumerate()
            .for_each(|(i, row)| self.copy(self.place(&epochs, i as u64), row));
        self.at += rows as u64;
        Ok(Some(Tensor::from_vec(values, (rows, width), &Device::Cpu)?))
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
