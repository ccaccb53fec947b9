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
}

impl From<candle_core::Error> for Error {
    fn from(source: candle_core::Error) -> Self {
        Self::Core(source.into())
    }
}
