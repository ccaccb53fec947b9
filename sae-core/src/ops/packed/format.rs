//! How codes, scales and offsets of a packed matrix are laid out.

use super::words::WORDS;

/// Columns are wholes of this; groups are wholes or halves of it.
pub(super) const UNIT: usize = 32;

/// What one code takes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 0 to 15.
    Four,
    /// -128 to 127, kept as 0 to 255.
    Eight,
}

impl Bits {
    const fn width(self) -> usize {
        match self {
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// Codes of a word.
    pub(super) const fn per_word(self) -> usize {
        32 / self.width()
    }

    pub(super) const LARGEST_BLOCK: usize = Self::Four.block();

    /// Codes of a block.
    pub(super) const fn block(self) -> usize {
        WORDS * self.per_word()
    }

    /// Where code number `k` of a word begins.
    #[allow(clippy::cast_possible_truncation)] // less than 32
    pub(super) const fn shift(self, k: usize) -> u32 {
        (k * self.width()) as u32
    }

    /// The bits of the first code of a word.
    pub(super) const fn mask(self) -> u32 {
        (1 << self.width()) - 1
    }

    /// The code that stands for 0, as it is kept.
    pub(super) const fn zero(self) -> u8 {
        match self {
            Self::Four => 0,
            Self::Eight => 128,
        }
    }
}

/// How a [`Packed`] matrix is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Of each code.
    pub bits: Bits,
    /// Codes of a row that share a scale: 16 or 32.
    pub group: usize,
    /// Groups have an offset too.
    pub offsets: bool,
}

impl Format {
    /// Columns up to the end of the last block of a row; those that are too many have scale and offset 0.
    pub(super) fn padded(self, cols: usize) -> usize {
        cols.next_multiple_of(self.bits.block())
    }
}
