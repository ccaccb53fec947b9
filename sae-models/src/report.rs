//! `TensorReport`: everything in a checkpoint that does not fit the model, all at once.

use std::fmt;

/// Names that a message lists of each kind; the report itself holds all.
const LISTED: usize = 20;

/// Tensors that are missing, of another shape, or of no use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorReport {
    /// Names and shapes of those that are not there.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Those of another shape.
    pub misshapen: Vec<Misshapen>,
    /// Names of those that belong to no part of the model.
    pub unexpected: Vec<String>,
}

/// A tensor of another shape than the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub got: Vec<usize>,
    /// The shape that is right.
    pub want: Vec<usize>,
}

impl TensorReport {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.misshapen.is_empty() && self.unexpected.is_empty()
    }
}

impl fmt::Display for TensorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut list = |texts: Vec<String>| {
            let more = texts.len().saturating_sub(LISTED);
            let shown = texts.into_iter().take(LISTED).collect::<Vec<_>>().join("; ");
            match more {
                0 if shown.is_empty() => {}
                0 => parts.push(shown),
                _ => parts.push(format!("{shown}; {more} more like these")),
            }
        };
        let missing =
            |(name, want): &(String, Vec<usize>)| format!("no tensor `{name}`, expected {want:?}");
        list(self.missing.iter().map(missing).collect());
        let misshapen = |Misshapen { name, got, want }: &Misshapen| {
            format!("tensor `{name}` is {got:?}, expected {want:?}")
        };
        list(self.misshapen.iter().map(misshapen).collect());
        let unexpected = |name: &String| format!("tensor `{name}` belongs to no part of the model");
        list(self.unexpected.iter().map(unexpected).collect());
        f.write_str(&parts.join("; "))
    }
}
