//! `At`: where a published SAE lies, and the files around it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sae_core::fetch::{Fetch, FetchError, RemoteFile};
use sae_core::io::{Fields, NamedTensors, open_tensors};
use serde_json::{Map, Value};

use crate::Error;

/// Longest configuration that is read.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Longest safetensors header that is read without the rest of the file.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A folder or file in a repository, and where its files come from.
#[derive(Clone, Copy)]
pub struct At<'a> {
    fetch: &'a dyn Fetch,
    repo_id: &'a str,
    path: &'a str,
    revision: &'a str,
    /// What formats that say nothing of the model read its name from.
    named: &'a str,
    is_local: bool,
}

impl<'a> At<'a> {
    /// `path` of a repository: a folder, or the one file of a format that has one.
    pub fn new(fetch: &'a dyn Fetch, repo_id: &'a str, path: &'a str, revision: &'a str) -> Self {
        Self {
            fetch,
            repo_id,
            path: path.trim_matches('/'),
            revision,
            named: repo_id,
            is_local: false,
        }
    }

    /// The same for a local path, `named` in full.
    pub(crate) const fn local(self, named: &'a str) -> Self {
        Self { named, is_local: true, ..self }
    }

    /// `owner/name`.
    #[must_use]
    pub const fn repo_id(&self) -> &'a str {
        self.repo_id
    }

    /// The folder or file.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// What formats that say nothing of the model read its name from: the repository's, for a local
    /// folder the folders that it is in.
    #[must_use]
    pub const fn names(&self) -> &'a str {
        self.named
    }

    /// What messages call it.
    #[must_use]
    pub fn title(&self) -> String {
        match self.is_local {
            true => self.named.to_owned(),
            false => format!("{}/{}", self.repo_id, self.path),
        }
    }

    /// The path of a file in the folder.
    #[must_use]
    pub fn inside(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    /// The path of a file next to the folder or file.
    #[must_use]
    pub fn beside(&self, name: &str) -> String {
        match self.path.rsplit_once('/') {
            Some((parent, _)) => format!("{parent}/{name}"),
            None => name.to_owned(),
        }
    }

    fn remote(&self, path: &str) -> RemoteFile {
        RemoteFile::new(self.repo_id, path).at(self.revision)
    }

    /// The local copy of a file of the repository.
    ///
    /// # Errors
    /// It cannot be fetched.
    pub fn file(&self, path: &str) -> Result<PathBuf, Error> {
        Ok(self.fetch.get(&self.remote(path))?)
    }

    /// As [`At::file`]; `None` if the repository has no such file.
    ///
    /// # Errors
    /// It cannot be fetched, although it may be there.
    pub fn maybe_file(&self, path: &str) -> Result<Option<PathBuf>, Error> {
        match self.fetch.get(&self.remote(path)) {
            Ok(path) => Ok(Some(path)),
            // Offline, what was never fetched counts as absent, as it does for models.
            Err(FetchError::NotFound { .. } | FetchError::Offline { .. }) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether the repository has a file.
    ///
    /// # Errors
    /// That cannot be found out.
    pub fn has(&self, path: &str) -> Result<bool, Error> {
        match self.fetch.exists(&self.remote(path)) {
            Err(FetchError::Offline { .. }) => Ok(false),
            other => Ok(other?),
        }
    }

    /// That a file which is not there would have been found: not so when offline.
    ///
    /// # Errors
    /// The repository is out of reach.
    pub(super) fn require_reach(&self, path: &str) -> Result<(), Error> {
        self.fetch.exists(&self.remote(path))?;
        Ok(())
    }

    /// A JSON object.
    ///
    /// # Errors
    /// It cannot be fetched, or is not a JSON object.
    pub fn json(&self, path: &str) -> Result<Fields, Error> {
        let path = self.file(path)?;
        Ok(Fields::parse(&path, &read(&path)?)?)
    }

    /// A YAML mapping.
    ///
    /// # Errors
    /// It cannot be fetched, or is not a YAML mapping.
    pub fn yaml(&self, path: &str) -> Result<Fields, Error> {
        let path = self.file(path)?;
        let content = read(&path)?;
        let map: Map<String, Value> = serde_saphyr::from_slice(&content)
            .map_err(|source| Error::Yaml { path: path.clone(), source: Box::new(source) })?;
        Ok(Fields::new(&path, map))
    }

    /// The tensors of a file, by its ending.
    ///
    /// # Errors
    /// It cannot be fetched, or is not what its ending says.
    pub fn tensors(&self, path: &str) -> Result<Box<dyn NamedTensors>, Error> {
        Ok(open_tensors(&self.file(path)?)?)
    }

    /// Shapes of the tensors of a safetensors file, from its header alone.
    ///
    /// # Errors
    /// It cannot be fetched, or is not a safetensors file.
    pub fn shapes(&self, path: &str) -> Result<BTreeMap<String, Vec<usize>>, Error> {
        let file = self.remote(path);
        let bad = |problem: String| {
            Error::Core(sae_core::Error::BadFile { path: file.to_string().into(), problem })
        };
        let size = self.fetch.range(&file, 0, 8)?;
        let size = size.first_chunk::<8>().ok_or_else(|| bad("too short for a header".into()))?;
        let size = u64::from_le_bytes(*size);
        if size > MAX_HEADER_BYTES {
            return Err(bad(format!("a header of {size} bytes, at most {MAX_HEADER_BYTES}")));
        }
        let header = self.fetch.range(&file, 8, size)?;
        let header: Map<String, Value> = serde_json::from_slice(&header)
            .map_err(|e| bad(format!("not a safetensors header: {e}")))?;
        let shape = |info: &Value| {
            let axes = info.get("shape")?.as_array()?.iter();
            axes.map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
        };
        let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
        tensors
            .map(|(name, info)| match shape(&info) {
                Some(shape) => Ok((name, shape)),
                None => Err(bad(format!("tensor `{name}` has no shape"))),
            })
            .collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let io = |source| FetchError::Io { path: path.to_owned(), source };
    let bytes = std::fs::metadata(path).map_err(io)?.len();
    if bytes > MAX_CONFIG_BYTES {
        let (what, limit) = ("bytes of a configuration", MAX_CONFIG_BYTES);
        let path = path.to_owned();
        return Err(sae_core::Error::BeyondLimit { path, what, got: bytes, limit }.into());
    }
    Ok(std::fs::read(path).map_err(io)?)
}
