//! `DirFetch`: a local folder that stands for the hub.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sae_core::fetch::{Fetch, FetchError, RemoteFile};

/// Files at `{root}/{repo_id}/{path}`; there is one revision of each, whatever is asked for.
#[derive(Clone, Debug)]
pub struct DirFetch {
    root: PathBuf,
}

impl DirFetch {
    /// A mirror whose repositories lie under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder that repositories lie under.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn place(&self, file: &RemoteFile) -> Result<PathBuf, FetchError> {
        file.check()?;
        Ok(self.root.join(&file.repo_id).join(&file.path))
    }
}

impl Fetch for DirFetch {
    fn get(&self, file: &RemoteFile) -> Result<PathBuf, FetchError> {
        let path = self.place(file)?;
        if self.exists(file)? {
            return Ok(path);
        }
        Err(FetchError::NotFound {
            repo_id: file.repo_id.clone(),
            path: file.path.clone(),
            url: path.display().to_string(),
        })
    }

    fn exists(&self, file: &RemoteFile) -> Result<bool, FetchError> {
        let path = self.place(file)?;
        match std::fs::metadata(&path) {
            Ok(found) => Ok(found.is_file()),
            // NotADirectory: a part of the path in the middle is a file.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(false)
            }
            Err(source) => Err(FetchError::Io { path, source }),
        }
    }
}
