//! `Keep`: in what form matrices stay in memory.

use sae_core::io::WeightDtype;

/// In what form matrices stay in memory. Vectors, and all arithmetic, are in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// As numbers of this type.
    As(WeightDtype),
    /// As the file has them: halves stay halves, and the blocks of a quantised file stay integers with scales. The
    /// values are those that the file stands for, in the least memory; each token reads that much less.
    Stored,
}

impl Keep {
    /// The type of numbers, if it is one for all.
    pub(crate) fn dtype(self) -> Option<WeightDtype> {
        match self {
            Self::As(dtype) => Some(dtype),
            Self::Stored => None,
        }
    }
}

impl Default for Keep {
    /// In f32.
    fn default() -> Self {
        Self::As(WeightDtype::F32)
    }
}

impl From<WeightDtype> for Keep {
    fn from(dtype: WeightDtype) -> Self {
        Self::As(dtype)
    }
}
