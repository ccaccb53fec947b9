//! `Fetch`: a file of a remote repository, brought to a local path.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// A file in a repository of model weights, as Hugging Face names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteFile {
    /// `owner/name`, or a bare `name` for the oldest models.
    pub repo_id: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Path inside the repository, with `/` between its parts.
    pub path: String,
}

impl RemoteFile {
    /// The branch that is meant when none is named.
    pub const MAIN: &'static str = "main";

    /// A file on the branch `main`.
    pub fn new(repo_id: impl Into<String>, path: impl Into<String>) -> Self {
        Self { repo_id: repo_id.into(), revision: Self::MAIN.to_owned(), path: path.into() }
    }

    /// The same file at another branch, tag or commit.
    #[must_use]
    pub fn at(self, revision: impl Into<String>) -> Self {
        Self { revision: revision.into(), ..self }
    }

    /// Checks that the three names are relative, plain and safe to join to a local folder.
    ///
    /// # Errors
    /// [`FetchError::UnsafePath`] for a name that is empty, absolute, has an empty, `.` or `..`
    /// part, a backslash or a control character; a repository or revision must also be of the
    /// characters that Hugging Face allows there.
    pub fn check(&self) -> Result<(), FetchError> {
        let plain_repo = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let plain_revision = |c: char| plain_repo(c) || "+@=,".contains(c);
        let unsafe_name = if !is_inside(&self.repo_id)
            || !self.repo_id.chars().all(plain_repo)
            || self.repo_id.split('/').count() > 2
        {
            &self.repo_id
        } else if !is_inside(&self.revision) || !self.revision.chars().all(plain_revision) {
            &self.revision
        } else if !is_inside(&self.path) {
            &self.path
        } else {
            return Ok(());
        };
        Err(FetchError::UnsafePath { name: unsafe_name.clone() })
    }
}

impl fmt::Display for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.repo_id, self.revision, self.path)
    }
}

/// Whether joining `name` to a folder stays inside that folder, on this and other systems.
fn is_inside(name: &str) -> bool {
    name.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && !name.chars().any(|c| c == '\\' || c.is_control())
        // Catches what only this system treats specially, such as `C:` on Windows.
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Where files of remote repositories come from: a hub, a local mirror, a test's folder.
///
/// Files of one repository and commit lie in one local folder, under their remote paths.
pub trait Fetch: Send + Sync {
    /// The local path of a complete copy, fetched first if need be.
    ///
    /// # Errors
    /// [`FetchError`], which says whether the file is absent, forbidden or out of reach.
    fn get(&self, file: &RemoteFile) -> Result<PathBuf, FetchError>;

    /// Whether [`get`](Fetch::get) has something to get, without fetching the contents.
    ///
    /// # Errors
    /// [`FetchError`], when that cannot be found out; absence is `Ok(false)`.
    fn exists(&self, file: &RemoteFile) -> Result<bool, FetchError>;

    /// `len` bytes of a file from `start` on, fewer if it ends before them; without the rest of it
    /// where that is possible.
    ///
    /// # Errors
    /// As [`get`](Fetch::get).
    fn range(&self, file: &RemoteFile, start: u64, len: u64) -> Result<Vec<u8>, FetchError> {
        read_range(&self.get(file)?, start, len)
    }
}

/// `len` bytes of a local file from `start` on, fewer if it ends before them.
///
/// # Errors
/// The file cannot be read.
pub fn read_range(path: &Path, start: u64, len: u64) -> Result<Vec<u8>, FetchError> {
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source| FetchError::Io { path: path.to_owned(), source })
}

/// Why a remote file could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The repository has no such file at that revision.
    #[error("{repo_id}: no file `{path}` at {url}")]
    NotFound {
        /// The repository.
        repo_id: String,
        /// The path inside it.
        path: String,
        /// Where it was looked for.
        url: String,
    },
    /// Status 401 or 403.
    #[error(
        "{repo_id}: status {status} from {url}; if the repository exists it is private or gated: \
         set HF_TOKEN, and accept its licence on its page"
    )]
    Unauthorized {
        /// The repository, which the hub may be hiding or may not have at all.
        repo_id: String,
        /// The address that refused.
        url: String,
        /// 401 (no or invalid token) or 403 (the token's owner has no access).
        status: u16,
    },
    /// Status 429.
    #[error("{url}: status 429, too many requests; wait some minutes, or set HF_TOKEN")]
    RateLimited {
        /// The address that refused.
        url: String,
    },
    /// Status 500 to 599.
    #[error("{url}: status {status}, the server failed")]
    Server {
        /// The address that failed.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// Any other status that is not a success.
    #[error("{url}: status {status}, expected a file")]
    Status {
        /// The address that was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// A successful reply that lacks what the hub's protocol promises.
    #[error("{url}: reply has no usable `{header}` header")]
    Reply {
        /// The address that was asked.
        url: String,
        /// The header at fault.
        header: &'static str,
    },
    /// No connection, or a connection that broke.
    #[error("{url}: connection failed")]
    Network {
        /// The address that was asked.
        url: String,
        /// What the HTTP client says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Offline mode, and the file is not in the cache.
    #[error("{file}: not in the local cache, and offline mode is on")]
    Offline {
        /// The file that was asked for.
        file: Box<RemoteFile>,
    },
    /// A name that would lead out of the folder it belongs in.
    #[error("`{name}`: names must be relative paths of plain parts, without `..`")]
    UnsafePath {
        /// The repository, revision or path at fault.
        name: String,
    },
    /// A download of another length than announced; it was removed.
    #[error("{url}: got {got_bytes} bytes, expected {want_bytes}")]
    Incomplete {
        /// The address that was asked.
        url: String,
        /// Length received.
        got_bytes: u64,
        /// Length announced.
        want_bytes: u64,
    },
    /// Another process holds the lock of this download.
    #[error("{path}: locked by another download")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// Nothing says where downloads are kept.
    #[error("no home directory for the download cache; set HF_HOME or HF_HUB_CACHE")]
    NoCacheDir,
    /// The local file system failed.
    #[error("{path}: file system operation failed")]
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
}
