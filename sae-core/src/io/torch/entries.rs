//! What a pickled structure holds: tensors by dotted names, and its plain values.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::object::{Id, Object, Objects};
use super::storage::TensorRef;
use crate::io::problem::{Outcome, Problem, within};

/// How deep dictionaries and lists may be nested.
const MAX_DEPTH: u64 = 64;
/// Objects met on the way; shared ones count as often as they are met.
const MAX_VISITS: u64 = 1 << 20;
/// Tensors of one file.
const MAX_TENSORS: u64 = 1 << 17;
/// Longest name of a tensor.
const MAX_NAME_BYTES: u64 = 512;
/// Texts among the plain values, together.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The content of a file.
#[derive(Debug, Default)]
pub(super) struct Entries {
    /// Keys that lead to a tensor, joined with dots.
    pub(super) tensors: BTreeMap<String, TensorRef>,
    /// Everything else, without what holds tensors only.
    pub(super) plain: Map<String, Value>,
}

impl Entries {
    /// Walk from `root`.
    ///
    /// # Errors
    /// Nested too deeply, or too large.
    pub(super) fn of(objects: &Objects, root: Id) -> Outcome<Self> {
        let mut walk = Walk { objects, entries: Self::default(), visits: 0, text_bytes: 0 };
        if let Some(Value::Object(plain)) = walk.visit(root, "", 0)? {
            walk.entries.plain = plain;
        }
        Ok(walk.entries)
    }
}

struct Walk<'a> {
    objects: &'a Objects,
    entries: Entries,
    visits: u64,
    text_bytes: u64,
}

impl Walk<'_> {
    /// Note the tensors under `id`, and return what is plain.
    fn visit(&mut self, id: Id, name: &str, depth: u64) -> Outcome<Option<Value>> {
        self.visits += 1;
        within("objects of a pickle, met again and again", self.visits, MAX_VISITS)?;
        within("depth of a pickled structure", depth, MAX_DEPTH)?;
        let inside = |key: &str| match name {
            "" => key.to_owned(),
            name => format!("{name}.{key}"),
        };
        Ok(match self.objects.get(id) {
            Object::None => Some(Value::Null),
            Object::Bool(yes) => Some(Value::from(*yes)),
            Object::Int(n) => Some(Value::from(*n)),
            Object::Float(x) => Some(Value::from(*x)),
            Object::Text(text) => Some(Value::from(self.text(text)?)),
            Object::Global(global) => global.as_text().map(Value::from),
            Object::Tensor(tensor) => {
                within("bytes of a tensor's name", name.len() as u64, MAX_NAME_BYTES)?;
                within("tensors", self.entries.tensors.len() as u64, MAX_TENSORS)?;
                self.entries.tensors.insert(name.to_owned(), tensor.clone());
                None
            }
            Object::Tuple(items) | Object::List(items) => {
                let mut plain = Vec::new();
                for (i, item) in items.iter().enumerate() {
                    plain.extend(self.visit(*item, &inside(&i.to_string()), depth + 1)?);
                }
                (!plain.is_empty() || items.is_empty()).then_some(Value::Array(plain))
            }
            Object::Dict(pairs) => {
                let mut plain = Map::new();
                for (key, value) in pairs {
                    let key = self.key(*key)?;
                    if let Some(value) = self.visit(*value, &inside(&key), depth + 1)? {
                        plain.insert(key, value);
                    }
                }
                (!plain.is_empty() || pairs.is_empty()).then_some(Value::Object(plain))
            }
            Object::Long(_) | Object::Bytes(_) | Object::Storage(_) => None,
        })
    }

    fn text(&mut self, text: &str) -> Outcome<String> {
        self.text_bytes += text.len() as u64;
        within("bytes of texts in a pickle", self.text_bytes, MAX_TEXT_BYTES)?;
        Ok(text.to_owned())
    }

    fn key(&mut self, id: Id) -> Outcome<String> {
        match self.objects.get(id) {
            Object::Text(text) => self.text(text),
            Object::Int(n) => Ok(n.to_string()),
            other => Err(Problem::bad(format!(
                "a dictionary with {} as a key, expected texts or whole numbers",
                other.kind()
            ))),
        }
    }
}
