//! What can go wrong.

use std::path::PathBuf;

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
    #[error("{path}: model_type `{got}` is not supported, expected one of {}", known.join(", "), path = path.display())]
    UnknownFamily {
        /// The configuration.
        path: PathBuf,
        /// What it says.
        got: String,
        /// The families that are built.
        known: &'static [&'static str],
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
