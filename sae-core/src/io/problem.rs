//! `Problem`: what is wrong with a foreign file, before anybody knows which file it is.

use std::path::Path;

use zip::result::ZipError;

use crate::Error;

/// The result of reading a part of a foreign file.
pub(super) type Outcome<T> = Result<T, Problem>;

/// What is wrong with a foreign file.
#[derive(Debug)]
pub(super) enum Problem {
    /// It cannot be read.
    Io(std::io::Error),
    /// It is not what it should be.
    Bad(String),
    /// Its pickle wants something that may run code.
    Code(String),
    /// Something in it is larger than is read.
    Limit { what: &'static str, got: u64, limit: u64 },
}

impl Problem {
    /// A file that is not what it should be.
    pub(super) fn bad(problem: impl Into<String>) -> Self {
        Self::Bad(problem.into())
    }

    /// The error of the file at `path`.
    pub(super) fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Io(source) => Error::Io { path, source },
            Self::Bad(problem) => Error::BadFile { path, problem },
            Self::Code(what) => Error::PickledCode { path, what },
            Self::Limit { what, got, limit } => Error::BeyondLimit { path, what, got, limit },
        }
    }
}

impl From<std::io::Error> for Problem {
    fn from(source: std::io::Error) -> Self {
        match source.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::bad("truncated: it ends too early"),
            // What decompression and checksums say.
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                Self::Bad(format!("damaged: {source}"))
            }
            _ => Self::Io(source),
        }
    }
}

impl From<ZipError> for Problem {
    fn from(source: ZipError) -> Self {
        match source {
            ZipError::Io(source) => source.into(),
            other => Self::Bad(format!("not a readable zip archive: {other}")),
        }
    }
}

/// That `got` is not above a named limit.
pub(super) fn within(what: &'static str, got: u64, limit: u64) -> Outcome<()> {
    if got > limit {
        return Err(Problem::Limit { what, got, limit });
    }
    Ok(())
}
