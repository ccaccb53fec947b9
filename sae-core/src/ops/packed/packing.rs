//! Packed matrices in the making, row by row.

use super::Packed;
use super::format::{Bits, Format, UNIT};
use super::words::{Row, pack};
use crate::{Error, Result};

/// Rows in the making.
#[derive(Clone, Debug)]
pub struct Packing {
    pub(super) format: Format,
    pub(super) cols: usize,
    rows: usize,
    pub(super) words: Vec<u32>,
    pub(super) scales: Vec<f32>,
    pub(super) offsets: Vec<f32>,
}

impl Packing {
    /// No rows yet, of `cols` columns, a multiple of 32.
    ///
    /// # Errors
    /// Another number of columns, or groups of another size than 16 or 32.
    pub fn new(format: Format, cols: usize) -> Result<Self> {
        if cols == 0 || !cols.is_multiple_of(UNIT) || !matches!(format.group, 16 | 32) {
            let want = format!("rows of whole {UNIT}s in groups of 16 or 32");
            return Err(Error::InputShape {
                what: "a packed matrix",
                got: vec![cols, format.group],
                want,
            });
        }
        let (words, scales, offsets) = Default::default();
        Ok(Self { format, cols, rows: 0, words, scales, offsets })
    }

    /// Make room for so many more rows, and no more.
    pub fn reserve(&mut self, rows: usize) {
        let padded = rows * self.format.padded(self.cols);
        self.words.reserve_exact(padded / self.format.bits.per_word());
        self.scales.reserve_exact(padded / self.format.group);
        if self.format.offsets {
            self.offsets.reserve_exact(padded / self.format.group);
        }
    }

    /// Add a row: a code per column as it is kept, a scale per group, and an offset per group or none.
    ///
    /// # Errors
    /// Too many or too few, or a code that takes more bits than there are.
    pub fn push(&mut self, codes: &[u8], scales: &[f32], offsets: &[f32]) -> Result<()> {
        let groups = self.cols / self.format.group;
        let want = [self.cols, groups, if self.format.offsets { groups } else { 0 }];
        let got = vec![codes.len(), scales.len(), offsets.len()];
        if got != want {
            let want = format!("{want:?} codes, scales and offsets");
            return Err(Error::InputShape { what: "a row of a packed matrix", got, want });
        }
        let bits = self.format.bits;
        if let Some(code) = codes.iter().find(|code| u32::from(**code) > bits.mask()) {
            let (got, want) = (vec![usize::from(*code)], format!("at most {}", bits.mask()));
            return Err(Error::InputShape { what: "a code of a packed matrix", got, want });
        }
        let padded = self.format.padded(self.cols);
        let (blocks, rest) = codes.split_at(self.cols / bits.block() * bits.block());
        pack(bits, blocks, &mut self.words);
        if !rest.is_empty() {
            let mut last = [0; Bits::LARGEST_BLOCK];
            last[..rest.len()].copy_from_slice(rest);
            pack(bits, &last[..bits.block()], &mut self.words);
        }
        self.rows += 1;
        self.scales.extend_from_slice(scales);
        self.scales.resize(self.rows * padded / self.format.group, 0.0);
        self.offsets.extend_from_slice(offsets);
        if self.format.offsets {
            self.offsets.resize(self.rows * padded / self.format.group, 0.0);
        }
        Ok(())
    }

    /// Add the rows of another one.
    ///
    /// # Errors
    /// Of another format or width.
    pub fn append(&mut self, other: &Self) -> Result<()> {
        if (self.format, self.cols) != (other.format, other.cols) {
            let want = format!("rows of {} in the format {:?}", self.cols, self.format);
            return Err(Error::InputShape { what: "packed rows", got: vec![other.cols], want });
        }
        let Self { words, scales, offsets, .. } = other;
        self.extend(Row { words, scales, offsets }, other.rows);
        Ok(())
    }

    /// Add rows that are packed in the same way.
    pub(super) fn extend(&mut self, all: Row<'_>, rows: usize) {
        self.rows += rows;
        self.words.extend_from_slice(all.words);
        self.scales.extend_from_slice(all.scales);
        self.offsets.extend_from_slice(all.offsets);
    }

    /// The matrix of these rows.
    pub fn finish(self) -> Packed {
        Packed::of(self.rows, self)
    }
}
