//! `Slot`: where one file lies, or will lie, in the hub's cache folder.
//!
//! Layout of `huggingface_hub`: `models--{owner}--{name}/` holds `refs/{revision}` (a commit),
//! `snapshots/{commit}/{path}` (links) and `blobs/{etag}` (contents).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hf_hub::api::sync::Metadata;
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use sae_core::fetch::{FetchError, RemoteFile};

/// Hexadecimal digits of a full commit hash.
const COMMIT_LEN: usize = 40;

/// The places of one file in the cache.
pub(super) struct Slot {
    root: PathBuf,
    repo: Repo,
    path: String,
}

impl Slot {
    /// The slot of a file whose names have been checked.
    pub(super) fn new(root: PathBuf, file: &RemoteFile) -> Self {
        let repo =
            Repo::with_revision(file.repo_id.clone(), RepoType::Model, file.revision.clone());
        Self { root, repo, path: file.path.clone() }
    }

    fn repo(&self) -> CacheRepo {
        Cache::new(self.root.clone()).repo(self.repo.clone())
    }

    /// The complete file, if the cache has it.
    pub(super) fn cached(&self) -> Option<PathBuf> {
        let revision = self.repo.revision();
        let is_commit =
            revision.len() == COMMIT_LEN && revision.bytes().all(|b| b.is_ascii_hexdigit());
        // A commit needs no entry under `refs/`, and has none when Python filled the cache.
        let direct = is_commit.then(|| self.pointer(revision)).filter(|path| path.is_file());
        direct.or_else(|| self.repo().get(&self.path).filter(|path| path.is_file()))
    }

    /// Where the file of that commit is found by name.
    pub(super) fn pointer(&self, commit: &str) -> PathBuf {
        self.repo().pointer_path(commit).join(&self.path)
    }

    /// Where contents of that etag are kept.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.repo().blob_path(etag)
    }

    /// The file that `hf-hub` locks during a download of that etag.
    pub(super) fn lock_path(&self, etag: &str) -> PathBuf {
        self.blob(etag).with_extension("lock")
    }

    /// Uses contents that are already here in full, from another revision or from a run that was
    /// killed at its last step, and clears away what a download would trip over.
    ///
    /// Waits for other downloads of the same contents first.
    pub(super) fn adopt(&self, meta: &Metadata) -> Result<Option<PathBuf>, FetchError> {
        let (blob, pointer) = (self.blob(meta.etag()), self.pointer(meta.commit_hash()));
        let (part, lock_path) = (blob.with_extension("part"), self.lock_path(meta.etag()));
        make_parent(&blob)?;
        make_parent(&pointer)?;
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;

        let size = meta.size() as u64;
        if len(&part)? == Some(size) {
            // Asking for the bytes after the last one would be an error for ever.
            fs::rename(&part, &blob).map_err(at(&part))?;
        } else if len(&part)?.is_some_and(|got| got > size) {
            fs::remove_file(&part).map_err(at(&part))?;
        }
        if fs::symlink_metadata(&pointer).is_ok() && !pointer.exists() {
            // A link whose contents were deleted.
            fs::remove_file(&pointer).map_err(at(&pointer))?;
        }
        if len(&blob)? != Some(size) {
            return Ok(None);
        }
        if !pointer.exists() {
            let up = self.path.split('/').count() + 1;
            let target = Path::new(&"../".repeat(up)).join("blobs").join(meta.etag());
            match link(&blob, &target, &pointer) {
                // The download we waited for links only after it has let go of the lock.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                linked => linked.map_err(at(&pointer))?,
            }
        }
        self.repo().create_ref(meta.commit_hash()).map_err(at(&self.root))?;
        Ok(Some(pointer))
    }
}

/// Makes `pointer` lead to `blob`, whose path relative to the pointer is `target`.
fn link(blob: &Path, target: &Path, pointer: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let _ = blob;
        std::os::unix::fs::symlink(target, pointer)
    }
    #[cfg(not(unix))]
    {
        // Links need a privilege on Windows; a second name for the same contents does not.
        let _ = target;
        fs::hard_link(blob, pointer)
    }
}

/// Creates the folder that `path` is in.
pub(super) fn make_parent(path: &Path) -> Result<(), FetchError> {
    path.parent().map_or(Ok(()), |dir| fs::create_dir_all(dir).map_err(at(dir)))
}

/// Length of a file in bytes, `None` if there is none.
pub(super) fn len(path: &Path) -> Result<Option<u64>, FetchError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(at(path)(e)),
    }
}

/// Adds the path to a file system error.
pub(super) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Io { path, source }
}
