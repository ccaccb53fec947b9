//! `Fields`: a JSON object read field by field, with errors that name file and field.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, Result};

/// A JSON object and the file it came from.
#[derive(Clone, Debug)]
pub struct Fields {
    path: PathBuf,
    /// What comes before a field's name in messages: the objects it is nested in.
    within: String,
    map: Map<String, Value>,
    largest: usize,
}

impl Fields {
    /// Parse an object.
    ///
    /// # Errors
    /// Not JSON, or not an object.
    pub fn parse(path: &Path, content: &[u8]) -> Result<Self> {
        let bad = |problem: String| Error::BadFile { path: path.to_owned(), problem };
        match serde_json::from_slice(content) {
            Ok(Value::Object(map)) => Ok(Self::new(path, map)),
            Ok(_) => Err(bad("not a JSON object".to_owned())),
            Err(e) => Err(bad(format!("not JSON: {e}"))),
        }
    }

    /// An object that was made rather than read; `path` is what messages call it.
    pub fn new(path: &Path, map: Map<String, Value>) -> Self {
        Self { path: path.to_owned(), within: String::new(), map, largest: usize::MAX }
    }

    /// The same object, in which no size may be larger: what is multiplied with another size must not overflow.
    #[must_use]
    pub fn with_sizes_up_to(self, largest: usize) -> Self {
        Self { largest, ..self }
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The object itself.
    pub fn map(&self) -> &Map<String, Value> {
        &self.map
    }

    /// The object itself, to change.
    pub fn map_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.map
    }

    /// The value of a field; JSON null counts as absent.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|v| !v.is_null())
    }

    /// The error of a field that is not what it should be.
    pub fn wrong(&self, field: &str, want: &str) -> Error {
        let got = self.map.get(field).map_or_else(|| "missing".to_owned(), Value::to_string);
        Error::ConfigField {
            path: self.path.clone(),
            field: format!("{}{field}", self.within),
            got,
            want: want.to_owned(),
        }
    }

    fn read<T>(
        &self,
        field: &str,
        want: &str,
        as_type: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        as_type(value).map(Some).ok_or_else(|| self.wrong(field, want))
    }

    /// A whole number that is not negative, if the field is there.
    ///
    /// # Errors
    /// Of another type, or too large.
    pub fn size(&self, field: &str) -> Result<Option<usize>> {
        let size = self.read(field, "a whole number", |v| usize::try_from(v.as_u64()?).ok())?;
        match size.filter(|n| *n > self.largest) {
            Some(_) => Err(self.wrong(field, &format!("at most {}", self.largest))),
            None => Ok(size),
        }
    }

    /// A whole number above zero.
    ///
    /// # Errors
    /// Missing, zero, too large, or of another type.
    pub fn need_size(&self, field: &str) -> Result<usize> {
        let found = self.size(field)?.filter(|n| *n > 0);
        found.ok_or_else(|| self.wrong(field, "a whole number above 0"))
    }

    /// A number, if the field is there.
    ///
    /// # Errors
    /// Of another type.
    pub fn number(&self, field: &str) -> Result<Option<f64>> {
        self.read(field, "a number", Value::as_f64)
    }

    /// True or false, if the field is there.
    ///
    /// # Errors
    /// Of another type.
    pub fn flag(&self, field: &str) -> Result<Option<bool>> {
        self.read(field, "true or false", Value::as_bool)
    }

    /// A text, if the field is there.
    ///
    /// # Errors
    /// Of another type.
    pub fn text(&self, field: &str) -> Result<Option<String>> {
        self.read(field, "a text", |v| v.as_str().map(str::to_owned))
    }

    /// The object in a field, if the field is there.
    ///
    /// # Errors
    /// Of another type.
    pub fn object(&self, field: &str) -> Result<Option<Self>> {
        let map = self.read(field, "an object", |v| v.as_object().cloned())?;
        let within = format!("{}{field}.", self.within);
        Ok(map.map(|map| Self { within, map, ..self.clone() }))
    }

    /// A list of texts, if the field is there.
    ///
    /// # Errors
    /// Of another type.
    pub fn texts(&self, field: &str) -> Result<Option<Vec<String>>> {
        self.read(field, "a list of texts", |v| {
            v.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }
}
