//! Reading a JSON object field by field, collecting every problem instead of stopping at the first.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// An object, what was read of it, and what was wrong.
pub(crate) struct Reader<'a> {
    map: &'a Map<String, Value>,
    prefix: &'static str,
    read: BTreeSet<&'static str>,
    /// One sentence per problem.
    pub(crate) problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// `prefix` stands before the names of fields in messages.
    pub(crate) fn new(map: &'a Map<String, Value>, prefix: &'static str) -> Self {
        Self { map, prefix, read: BTreeSet::new(), problems: Vec::new() }
    }

    /// The value of a field; JSON null counts as absent.
    pub(crate) fn get(&mut self, field: &'static str) -> Option<&'a Value> {
        self.read.insert(field);
        self.map.get(field).filter(|v| !v.is_null())
    }

    /// The value of a field, null if it says so.
    pub(crate) fn raw(&mut self, field: &'static str) -> Option<&'a Value> {
        self.read.insert(field);
        self.map.get(field)
    }

    fn typed<T>(
        &mut self,
        field: &'static str,
        want: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(field)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.problem(field, format_args!("is {value}, expected {want}"));
        }
        parsed
    }

    /// Note a problem with a field.
    pub(crate) fn problem(&mut self, field: &str, what: impl std::fmt::Display) {
        self.problems.push(format!("`{}{field}` {what}", self.prefix));
    }

    pub(crate) fn number(&mut self, field: &'static str) -> Option<f64> {
        self.typed(field, "a number", |v| v.as_f64().filter(|x| x.is_finite()))
    }

    /// A number that is not negative.
    pub(crate) fn amount(&mut self, field: &'static str, default: f64) -> f64 {
        self.typed(field, "a number, 0 or more", |v| v.as_f64().filter(|x| *x >= 0.0))
            .unwrap_or(default)
    }

    /// A whole number; also one that is written like `2e6`.
    pub(crate) fn count(&mut self, field: &'static str) -> Option<u64> {
        self.typed(field, "a whole number, 0 or more", whole)
    }

    /// As [`Reader::count`], at least 1.
    pub(crate) fn positive(&mut self, field: &'static str, default: u64) -> u64 {
        let want = "a whole number, 1 or more";
        self.typed(field, want, |v| whole(v).filter(|n| *n > 0)).unwrap_or(default)
    }

    pub(crate) fn flag(&mut self, field: &'static str, default: bool) -> bool {
        self.typed(field, "true or false", Value::as_bool).unwrap_or(default)
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Option<&'a str> {
        let value = self.get(field)?;
        if !value.is_string() {
            self.problem(field, format_args!("is {value}, expected a text"));
        }
        value.as_str()
    }

    /// A text that must be one of `choices`.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        field: &'static str,
        choices: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(text) = self.text(field) else { return default };
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return *value;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.problem(field, format_args!("is `{text}`, expected one of {}", names.join(", ")));
        default
    }

    /// Fields that nobody read and that are not in `known` either are problems: a misspelt field must
    /// not be ignored.
    pub(crate) fn finish(mut self, known: &[&str]) -> Vec<String> {
        let unknown: Vec<&String> = self
            .map
            .keys()
            .filter(|k| !self.read.contains(k.as_str()) && !known.contains(&k.as_str()))
            .collect();
        for field in unknown {
            let names = self.read.iter().copied().chain(known.iter().copied());
            let nearest =
                names.max_by(|a, b| strsim::jaro(a, field).total_cmp(&strsim::jaro(b, field)));
            let hint = nearest.map_or_else(String::new, |n| format!("; did you mean `{n}`?"));
            self.problem(field, format_args!("is no field of the configuration{hint}"));
        }
        self.problems
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn whole(v: &Value) -> Option<u64> {
    let exact = |x: f64| x >= 0.0 && x.fract() == 0.0 && x < u64::MAX as f64;
    v.as_u64().or_else(|| v.as_f64().filter(|x| exact(*x)).map(|x| x as u64))
}
