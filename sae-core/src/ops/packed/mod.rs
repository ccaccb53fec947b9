//! `Packed`: a matrix of small integers, each group of them with a scale, as quantised files hold it.

mod format;
mod packing;
mod product;
mod words;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::{Error, Result};

pub use format::{Bits, Format};
pub use packing::Packing;
pub use product::linear_packed;
use words::{Row, unpack, widen};

/// A matrix `[d_out, d_in]` whose elements are `scale code + offset`, with scale and offset of a group of codes.
/// Cloning, and taking rows that lie together, shares what it holds.
#[derive(Clone, Debug)]
pub struct Packed {
    all: Arc<Packing>,
    first: usize,
    rows: usize,
}

impl Packed {
    fn of(rows: usize, all: Packing) -> Self {
        Self { all: Arc::new(all), first: 0, rows }
    }

    fn format(&self) -> Format {
        self.all.format
    }

    /// `[d_out, d_in]`
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.all.cols)
    }

    /// Rows `from..from + n`.
    ///
    /// # Errors
    /// There are fewer.
    pub fn narrow(&self, from: usize, n: usize) -> Result<Self> {
        if from.checked_add(n).is_none_or(|end| end > self.rows) {
            let want = format!("first and number of at most {} rows", self.rows);
            let got = vec![from, n];
            return Err(Error::InputShape { what: "rows of a packed matrix", got, want });
        }
        Ok(Self { all: self.all.clone(), first: self.first + from, rows: n })
    }

    /// These rows in f32, `[rows, d_in]`.
    ///
    /// # Errors
    /// A row that is not there.
    pub fn lookup(&self, rows: &[u32]) -> Result<Tensor> {
        let cols = self.all.cols;
        let mut values = vec![0f32; rows.len() * cols];
        let mut whole = vec![0f32; self.format().padded(cols)];
        for (to, row) in values.chunks_exact_mut(cols).zip(rows) {
            self.narrow(*row as usize, 1)?;
            widen(self.format(), &mut whole, self.row(*row as usize));
            to.copy_from_slice(&whole[..cols]);
        }
        Ok(Tensor::from_vec(values, (rows.len(), cols), &Device::Cpu)?)
    }

    /// All of it in f32, `[d_out, d_in]`.
    ///
    /// # Errors
    /// candle's.
    pub fn widened(&self) -> Result<Tensor> {
        let cols = self.all.cols;
        let mut values = vec![0f32; self.rows * cols];
        let rows = values.par_chunks_exact_mut(cols).enumerate();
        rows.for_each_init(Vec::new, |whole: &mut Vec<f32>, (row, to)| {
            whole.resize(self.format().padded(cols), 0.0);
            widen(self.format(), whole, self.row(row));
            to.copy_from_slice(&whole[..cols]);
        });
        Ok(Tensor::from_vec(values, (self.rows, cols), &Device::Cpu)?)
    }

    /// The same matrix with rows in another order, or some of them.
    ///
    /// # Errors
    /// A row that is not there, or none.
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> Result<Self> {
        let parts = rows.into_iter().map(|row| self.narrow(row, 1)).collect::<Result<Vec<_>>>()?;
        Self::stacked(&parts)
    }

    /// The rows of several matrices of one width, one after another, in a format that holds each exactly.
    ///
    /// # Errors
    /// None, or of several widths.
    pub fn stacked(parts: &[Self]) -> Result<Self> {
        let cols = parts.first().map_or(0, |part| part.all.cols);
        let formats = || parts.iter().map(Self::format);
        let eight = formats().any(|format| format.bits == Bits::Eight);
        let format = Format {
            bits: if eight { Bits::Eight } else { Bits::Four },
            group: formats().map(|format| format.group).min().unwrap_or(32),
            offsets: formats().any(|format| format.offsets),
        };
        let mut all = Packing::new(format, cols)?;
        all.reserve(parts.iter().map(|part| part.rows).sum());
        let mut codes = Vec::new();
        for part in parts {
            let from = part.format();
            if from == format {
                all.extend(part.span(0, part.rows), part.rows);
                continue;
            }
            // What stands for 0 may be another code.
            let shift = format.bits.zero() - from.bits.zero();
            let again = from.group / format.group;
            for row in 0..part.rows {
                let row = part.row(row);
                codes.clear();
                unpack(from.bits, row.words, &mut codes);
                codes.truncate(part.all.cols);
                codes.iter_mut().for_each(|code| *code += shift);
                let groups = |values: &[f32]| -> Vec<f32> {
                    let values = values.iter().take(part.all.cols / from.group);
                    values.flat_map(|value| std::iter::repeat_n(*value, again)).collect()
                };
                let mut offsets = groups(row.offsets);
                if format.offsets {
                    offsets.resize(part.all.cols / format.group, 0.0);
                }
                all.push(&codes, &groups(row.scales), &offsets)?;
            }
        }
        Ok(all.finish())
    }

    /// One row.
    fn row(&self, row: usize) -> Row<'_> {
        self.span(row, 1)
    }

    /// Some rows as if they were one.
    fn span(&self, row: usize, n: usize) -> Row<'_> {
        self.blocks(row, 0, n * self.format().padded(self.all.cols))
    }

    /// Columns `from..to` of a row, whole blocks.
    fn blocks(&self, row: usize, from: usize, to: usize) -> Row<'_> {
        let format = self.format();
        let start = (self.first + row) * format.padded(self.all.cols);
        let part = |per: usize| (start + from) / per..(start + to) / per;
        Row {
            words: &self.all.words[part(format.bits.per_word())],
            scales: &self.all.scales[part(format.group)],
            offsets: if format.offsets { &self.all.offsets[part(format.group)] } else { &[] },
        }
    }
}
