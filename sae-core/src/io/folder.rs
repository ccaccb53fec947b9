//! `Folder`: files of one model or SAE, on disk or built into the program.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::TensorFile;
use crate::{Error, Result};

/// A folder of files.
#[derive(Clone, Debug)]
pub enum Folder {
    /// On disk.
    Disk(PathBuf),
    /// Built into the program: names and contents.
    Embedded {
        /// What the folder is called in messages.
        name: &'static str,
        /// File names and contents.
        files: &'static [(&'static str, &'static [u8])],
    },
}

impl Folder {
    /// A folder on disk.
    pub fn disk(path: impl Into<PathBuf>) -> Self {
        Self::Disk(path.into())
    }

    /// The path of a file, for messages.
    pub fn path(&self, file: &str) -> PathBuf {
        match self {
            Self::Disk(dir) => dir.join(file),
            Self::Embedded { name, .. } => Path::new(name).join(file),
        }
    }

    /// Whether the file is there.
    pub fn has(&self, file: &str) -> bool {
        match self {
            Self::Disk(dir) => dir.join(file).is_file(),
            Self::Embedded { files, .. } => files.iter().any(|(name, _)| *name == file),
        }
    }

    /// The content of a file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&self, file: &str) -> Result<Cow<'static, [u8]>> {
        let io = |source| Error::Io { path: self.path(file), source };
        match self {
            Self::Disk(dir) => Ok(Cow::Owned(std::fs::read(dir.join(file)).map_err(io)?)),
            Self::Embedded { files, .. } => files
                .iter()
                .find(|(name, _)| *name == file)
                .map(|(_, content)| Cow::Borrowed(*content))
                .ok_or_else(|| io(std::io::ErrorKind::NotFound.into())),
        }
    }

    /// The tensors of a safetensors file.
    ///
    /// # Errors
    /// The file cannot be read, or is not safetensors.
    pub fn tensors(&self, file: &str) -> Result<TensorFile> {
        match self {
            Self::Disk(dir) => TensorFile::open(&dir.join(file)),
            Self::Embedded { .. } => TensorFile::from_bytes(self.path(file), self.read(file)?),
        }
    }
}
