//! What can go wrong with stored tokens and activations.

use std::path::PathBuf;

use crate::mixer::BadMix;
use crate::pack::ContextTooSmall;

/// Reading or writing tokens or activations failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A dataset without a row of the wanted length.
    #[error("the dataset holds no row of {context_size} tokens")]
    NoRows {
        /// Tokens per row.
        context_size: usize,
    },
    /// A row of a tokenised dataset that is too short.
    #[error("row {row} of the dataset has {got} tokens, the context needs {want}")]
    ShortRow {
        /// Which row.
        row: usize,
        /// Its tokens.
        got: usize,
        /// Tokens wanted.
        want: usize,
    },
    /// A dataset without the column.
    #[error("{}: no column `{column}`, there are: {}", .path.display(), .there.join(", "))]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        column: String,
        /// What there is.
        there: Vec<String>,
    },
    /// A file that is not what it should be.
    #[error("{}: {problem}", .path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file system says no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// A row that the tokenizer does not take.
    #[error("document {document}: {problem}")]
    Tokenize {
        /// Which document.
        document: usize,
        /// What is wrong.
        problem: String,
    },
    /// A position after which nothing can follow.
    #[error("row {row} was asked for, the source has {rows}")]
    Beyond {
        /// The row.
        row: u64,
        /// How many there are.
        rows: u64,
    },
    /// The thread that runs a model ahead ended before its time.
    #[error("the thread that runs the model ahead has ended")]
    ThreadEnded,
    /// A context that holds no token.
    #[error(transparent)]
    Context(#[from] ContextTooSmall),
    /// A buffer that cannot mix.
    #[error(transparent)]
    Mix(#[from] BadMix),
    /// A model or hook that does not fit.
    #[error(transparent)]
    Core(#[from] sae_core::Error),
    /// Tensors.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result of anything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// For traits whose error is that of sae-core.
pub(crate) fn into_core(error: Error) -> sae_core::Error {
    match error {
        Error::Core(error) => error,
        Error::Candle(error) => error.into(),
        Error::Io { path, source } => sae_core::Error::Io { path, source },
        other => sae_core::Error::Source(Box::new(other)),
    }
}
