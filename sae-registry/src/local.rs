//! `Local`: a folder or file on this machine, as if it lay in a repository.

use std::path::{Component, Path, PathBuf};

use sae_core::fetch::{Fetch, FetchError, RemoteFile};

use crate::Error;
use crate::format::At;

/// How many of the last parts of a local path count as the path in the repository: as many as any
/// format has.
const PATH_PARTS: usize = 4;

/// A local folder or file, and the folders above it as the repository.
pub(crate) struct Local {
    root: PathBuf,
    /// The whole path, and what counts as the path in a repository.
    names: String,
    path: String,
}

impl Local {
    /// The place of a path, which need not exist: formats may make files of it.
    ///
    /// # Errors
    /// The path is empty, or the current folder is gone.
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        let io = |source| FetchError::Io { path: path.to_owned(), source };
        let absolute = std::path::absolute(path).map_err(io)?;
        let parts: Vec<_> = absolute.components().collect();
        let named = parts.iter().filter(|part| matches!(part, Component::Normal(_))).count();
        let (root, rest) = parts.split_at(parts.len() - PATH_PARTS.min(named));
        let rest = rest.iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let rest: Vec<String> = rest.collect();
        let root: PathBuf = root.iter().collect();
        Ok(Self { root, names: absolute.display().to_string(), path: rest.join("/") })
    }

    /// The same as a place in a repository.
    pub(crate) fn at(&self) -> At<'_> {
        At::new(self, "local", &self.path, RemoteFile::MAIN).local(&self.names)
    }

    fn place(&self, file: &RemoteFile) -> Result<PathBuf, FetchError> {
        file.check()?;
        Ok(self.root.join(&file.path))
    }
}

impl Fetch for Local {
    fn get(&self, file: &RemoteFile) -> Result<PathBuf, FetchError> {
        let path = self.place(file)?;
        if path.is_file() {
            return Ok(path);
        }
        Err(FetchError::NotFound {
            repo_id: self.root.display().to_string(),
            path: file.path.clone(),
            url: path.display().to_string(),
        })
    }

    fn exists(&self, file: &RemoteFile) -> Result<bool, FetchError> {
        Ok(self.place(file)?.is_file())
    }
}
