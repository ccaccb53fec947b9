//! `Objects`: what a pickle builds, as nodes that name each other by number.
//!
//! Nodes are shared and never copied, so that a small pickle cannot grow into a large structure.

use super::globals::Global;
use super::storage::{Storage, TensorRef};
use crate::io::problem::{Outcome, Problem, within};

/// Nodes of one pickle.
const MAX_OBJECTS: u64 = 1 << 20;
/// Parts of what is short: shapes, arguments.
const MAX_FEW: u64 = 16;

/// The number of a node.
pub(super) type Id = u32;

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i64),
    /// A whole number that 64 bits do not hold, as little-endian bytes.
    Long(Vec<u8>),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function that may be named.
    Global(Global),
    Storage(Storage),
    Tensor(TensorRef),
}

impl Object {
    /// What it is, for messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a truth value",
            Self::Int(_) | Self::Long(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Bytes(_) => "bytes",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a class or function",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// The nodes of one pickle.
#[derive(Debug, Default)]
pub(super) struct Objects(Vec<Object>);

impl Objects {
    /// Add a node.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn add(&mut self, object: Object) -> Outcome<Id> {
        within("objects of a pickle", self.0.len() as u64 + 1, MAX_OBJECTS)?;
        self.0.push(object);
        // The limit fits.
        Ok(u32::try_from(self.0.len() - 1).unwrap_or(Id::MAX))
    }

    /// A node.
    pub(super) fn get(&self, id: Id) -> &Object {
        &self.0[id as usize]
    }

    /// A node, to add to.
    pub(super) fn get_mut(&mut self, id: Id) -> &mut Object {
        &mut self.0[id as usize]
    }

    /// Parts of a tuple or list.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn items(&self, id: Id) -> Outcome<&[Id]> {
        match self.get(id) {
            Object::Tuple(items) | Object::List(items) => Ok(items),
            other => Err(wrong("a tuple or list", other)),
        }
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn size(&self, id: Id) -> Outcome<usize> {
        match self.get(id) {
            Object::Int(n) => usize::try_from(*n).map_err(|_| Problem::bad(format!("size {n}"))),
            other => Err(wrong("a whole number", other)),
        }
    }

    /// Parts of a short tuple or list, copied.
    ///
    /// # Errors
    /// It is something else, or long.
    pub(super) fn few(&self, id: Id) -> Outcome<Vec<Id>> {
        let items = self.items(id)?;
        within("parts of a shape or of a call in a pickle", items.len() as u64, MAX_FEW)?;
        Ok(items.to_vec())
    }

    /// A short tuple or list of whole numbers that are not negative.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn sizes(&self, id: Id) -> Outcome<Vec<usize>> {
        self.few(id)?.iter().map(|item| self.size(*item)).collect()
    }

    /// All storages.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.0.iter().filter_map(|object| match object {
            Object::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn text(&self, id: Id) -> Outcome<&str> {
        match self.get(id) {
            Object::Text(text) => Ok(text),
            other => Err(wrong("a text", other)),
        }
    }
}

/// One kind of object where another is needed.
pub(super) fn wrong(want: &str, got: &Object) -> Problem {
    Problem::Bad(format!("damaged pickle: {}, expected {want}", got.kind()))
}
