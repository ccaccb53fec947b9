//! `Storage`: numbers outside the pickle, and `TensorRef`: the part of them that is a tensor.

use crate::io::element::Element;
use crate::io::view::View;

/// Numbers that the pickle refers to by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) key: String,
    /// `None`: bytes, of which each tensor says what numbers they are.
    pub(super) element: Option<Element>,
    /// How many numbers, or bytes.
    pub(super) len: usize,
}

impl Storage {
    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        (self.len as u64).saturating_mul(self.element.map_or(1, Element::bytes) as u64)
    }
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorRef {
    /// Key of its storage.
    pub(super) key: String,
    pub(super) element: Element,
    pub(super) view: View,
    /// Size of the storage.
    pub(super) storage_bytes: u64,
}
