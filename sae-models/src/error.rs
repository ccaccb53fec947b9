//! What can go wrong.

use std::path::PathBuf;

use crate::report::TensorReport;

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in loading and running models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A plan, a tensor or a file was at fault.
    #[error(transparent)]
    Core(#[from] sae_core::Error),
    /// A model family that is not built.
    #[error(
        "{path}: {field} `{got}` is not supported, expected one of {}; the nearest is `{nearest}`",
        known.join(", "),
        path = path.display()
    )]
    UnknownFamily {
        /// The configuration.
        path: PathBuf,
        /// The field that names the family.
        field: &'static str,
        /// What it says.
        got: String,
        /// The families that are built.
        known: &'static [&'static str],
        /// The one of them with the most similar name.
        nearest: &'static str,
    },
    /// A name that no known model has.
    #[error("no model is called `{got}`; near are {}", quoted(nearest))]
    UnknownModel {
        /// The name.
        got: String,
        /// Known names that are most like it.
        nearest: Vec<&'static str>,
    },
    /// Tensors of a checkpoint that do not fit the model.
    #[error("{path}: {report}", path = path.display())]
    Tensors {
        /// The checkpoint: its file, or the index of its shards.
        path: PathBuf,
        /// All that do not fit.
        report: TensorReport,
    },
    /// A folder that holds neither a configuration nor one GGUF file alone.
    #[error(
        "{path}: no config.json, and {} GGUF files: name one of them ({})",
        files.len(),
        names(files),
        path = path.display()
    )]
    SeveralGguf {
        /// The folder.
        path: PathBuf,
        /// The files.
        files: Vec<PathBuf>,
    },
    /// A folder without weights in a form that is read.
    #[error(
        "{path}: no weights, expected one of {}",
        expected.join(", "),
        path = path.display()
    )]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// The files that were looked for.
        expected: &'static [&'static str],
    },
    /// A folder without a tokenizer.
    #[error("{path}: no tokenizer: neither tokenizer.json nor a GGUF file", path = path.display())]
    NoTokenizer {
        /// The folder.
        path: PathBuf,
    },
    /// A text that is not one token.
    #[error("{text:?} is {} tokens {tokens:?}, expected exactly one", tokens.len())]
    NotOneToken {
        /// The text.
        text: String,
        /// The tokens that it is.
        tokens: Vec<String>,
    },
    /// A token that does not occur.
    #[error("token {token} ({text:?}) does not occur in the text")]
    TokenAbsent {
        /// The token.
        token: u32,
        /// Its text.
        text: String,
    },
    /// A special token that the vocabulary does not have.
    #[error("{path}: the vocabulary has no special token `{token}`", path = path.display())]
    SpecialTokenAbsent {
        /// The tokenizer.
        path: PathBuf,
        /// The token.
        token: String,
    },
    /// The tokenizer failed.
    #[error("tokenizer: {problem}")]
    Tokenizer {
        /// What it said.
        problem: String,
    },
    /// A sampling option out of range.
    #[error("{option} is {got}, expected {want}")]
    SamplingOption {
        /// The option.
        option: &'static str,
        /// Its value.
        got: f64,
        /// Its range.
        want: &'static str,
    },
}

impl From<candle_core::Error> for Error {
    fn from(source: candle_core::Error) -> Self {
        Self::Core(source.into())
    }
}

/// The most similar of `known`.
pub(crate) fn nearest(got: &str, known: &'static [&'static str]) -> &'static str {
    let likeness = |name: &&&'static str| strsim::jaro_winkler(&got.to_lowercase(), name);
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.copied().unwrap_or_default()
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn names(files: &[PathBuf]) -> String {
    let name = |file: &PathBuf| file.file_name().map(|n| n.to_string_lossy().into_owned());
    files.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}
