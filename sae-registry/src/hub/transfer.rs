//! One download: ask what there is, use what is here already, fetch the rest, check the length.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo, Metadata};
use hf_hub::{Repo, RepoType};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sae_core::fetch::{FetchError, RemoteFile};

use super::cache::{Slot, at, len, make_parent};
use super::settings::{Hub, OnProgress};
use super::translate::translate;

/// What Python's `urllib.parse.quote` escapes in a path.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// How often another download of the same contents may take the lock between our two looks at it.
const TURNS: usize = 8;

/// How far a download has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The file that is fetched.
    pub file: &'a RemoteFile,
    /// Bytes that are here, those of an earlier attempt included.
    pub done_bytes: u64,
    /// Bytes of the whole file.
    pub size_bytes: u64,
}

/// Asks the server about a file, without its contents.
pub(super) fn inspect(hub: &Hub, file: &RemoteFile) -> Result<Metadata, FetchError> {
    Remote::new(hub, file)?.metadata()
}

/// Fetches a file into the cache and returns where it is.
pub(super) fn download(hub: &Hub, slot: &Slot, file: &RemoteFile) -> Result<PathBuf, FetchError> {
    let remote = Remote::new(hub, file)?;
    let meta = remote.metadata()?;
    for _ in 0..TURNS {
        if let Some(path) = slot.adopt(&meta)? {
            return Ok(path);
        }
        let watch = Watch { report: hub.on_progress.clone(), file, done_bytes: 0, size_bytes: 0 };
        match remote.repo.download_with_progress(&remote.escaped, watch) {
            Ok(pointer) => return remote.settle(pointer, slot, &meta),
            // Somebody else's download of the same contents: look again.
            Err(ApiError::LockAcquisition(_)) => {}
            Err(ApiError::IoError(e)) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(translate(e, file, &remote.url, &slot.blob(meta.etag()))),
        }
    }
    Err(FetchError::Locked { path: slot.lock_path(meta.etag()) })
}

/// Fetches a part of a file, which is not kept.
pub(super) fn range(
    hub: &Hub,
    file: &RemoteFile,
    start: u64,
    len: u64,
) -> Result<Vec<u8>, FetchError> {
    const PARTIAL: u16 = 206;
    let Some(last) = len.checked_sub(1) else { return Ok(Vec::new()) };
    let url = Remote::new(hub, file)?.url;
    let failed = |e: ureq::Error| {
        translate(ApiError::RequestError(Box::new(e)), file, &url, Path::new(&url))
    };
    let last = start.saturating_add(last);
    let mut request = ureq::get(&url).header("range", format!("bytes={start}-{last}"));
    if let Some(token) = &hub.token {
        // Not repeated to the host that the endpoint redirects to.
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let reply = request.call().map_err(failed)?;
    // A server may send the whole file instead.
    let skip = if reply.status().as_u16() == PARTIAL { 0 } else { start };
    let mut body = reply.into_body().into_reader();
    let mut bytes = Vec::new();
    std::io::copy(&mut body.by_ref().take(skip), &mut std::io::sink())
        .and_then(|_| body.take(len).read_to_end(&mut bytes))
        .map_err(|source| FetchError::Network { url: url.clone(), source: Box::new(source) })?;
    Ok(bytes)
}

/// A file as `hf-hub` is asked for it.
struct Remote<'a> {
    api: Api,
    repo: ApiRepo,
    file: &'a RemoteFile,
    /// The path with everything escaped that has a meaning in a URL; `hf-hub` does not escape.
    escaped: String,
    url: String,
}

impl<'a> Remote<'a> {
    fn new(hub: &Hub, file: &'a RemoteFile) -> Result<Self, FetchError> {
        let cache_dir = hub.cache_dir.clone().ok_or(FetchError::NoCacheDir)?;
        let api = ApiBuilder::from_cache(hf_hub::Cache::new(cache_dir.clone()))
            .with_endpoint(hub.endpoint.clone())
            .with_token(hub.token.clone())
            // Its own retries append to the partial file from the wrong place.
            .with_retries(0)
            .with_progress(false)
            .with_user_agent("sae-registry", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| translate(e, file, &hub.endpoint, &cache_dir))?;
        let repo = api.repo(Repo::with_revision(
            file.repo_id.clone(),
            RepoType::Model,
            file.revision.clone(),
        ));
        let escaped = utf8_percent_encode(&file.path, PATH).to_string();
        let url = repo.url(&escaped);
        Ok(Self { api, repo, file, escaped, url })
    }

    fn metadata(&self) -> Result<Metadata, FetchError> {
        let meta = self
            .api
            .metadata(&self.url)
            .map_err(|e| translate(e, self.file, &self.url, self.url.as_ref()))?;
        // Both become file names.
        for (header, value) in [("x-repo-commit", meta.commit_hash()), ("etag", meta.etag())] {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_/".contains(c);
            if value.is_empty() || value.starts_with('/') || !value.chars().all(plain) {
                return Err(FetchError::Reply { url: self.url.clone(), header });
            }
        }
        Ok(meta)
    }

    /// Checks the length of a finished download and gives it its unescaped name.
    fn settle(
        &self,
        pointer: PathBuf,
        slot: &Slot,
        meta: &Metadata,
    ) -> Result<PathBuf, FetchError> {
        let (got_bytes, want_bytes) = (len(&pointer)?.unwrap_or(0), meta.size() as u64);
        if got_bytes != want_bytes {
            let blob = slot.blob(meta.etag());
            fs::remove_file(&pointer).map_err(at(&pointer))?;
            if blob.exists() {
                fs::remove_file(&blob).map_err(at(&blob))?;
            }
            return Err(FetchError::Incomplete { url: self.url.clone(), got_bytes, want_bytes });
        }
        if self.escaped == self.file.path {
            return Ok(pointer);
        }
        // As deep in the folder tree as before, so a relative link still leads to the contents.
        let named = slot.pointer(meta.commit_hash());
        make_parent(&named)?;
        fs::rename(&pointer, &named).map_err(at(&pointer))?;
        Ok(named)
    }
}

/// Turns the calls that `hf-hub` makes during a download into [`Progress`] reports.
struct Watch<'a> {
    report: Option<OnProgress>,
    file: &'a RemoteFile,
    done_bytes: u64,
    size_bytes: u64,
}

impl Watch<'_> {
    fn tell(&self) {
        if let Some(report) = &self.report {
            let Self { file, done_bytes, size_bytes, .. } = *self;
            report(&Progress { file, done_bytes, size_bytes });
        }
    }
}

impl hf_hub::api::Progress for Watch<'_> {
    /// Called twice: before the partial file is opened, and again before the request.
    fn init(&mut self, size: usize, _name: &str) {
        (self.done_bytes, self.size_bytes) = (0, size as u64);
    }

    fn update(&mut self, bytes: usize) {
        self.done_bytes += bytes as u64;
        self.tell();
    }

    fn finish(&mut self) {}
}
