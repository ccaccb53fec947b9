//! What `hf-hub` and its HTTP client report, as a [`FetchError`].

use std::io::{self, ErrorKind};
use std::path::Path;

use hf_hub::api::sync::ApiError;
use sae_core::fetch::{FetchError, RemoteFile};

/// Sorts an error of a request for `url` whose contents were to be written to `blob`.
pub(super) fn translate(error: ApiError, file: &RemoteFile, url: &str, blob: &Path) -> FetchError {
    let url = url.to_owned();
    match error {
        ApiError::RequestError(e) => match *e {
            ureq::Error::StatusCode(status) => by_status(status, file, url),
            other => FetchError::Network { url, source: Box::new(other) },
        },
        ApiError::IoError(e) if is_local(&e) => FetchError::Io { path: blob.to_owned(), source: e },
        ApiError::IoError(e) => FetchError::Network { url, source: Box::new(e) },
        ApiError::MissingHeader(header) | ApiError::InvalidHeader(header) => {
            FetchError::Reply { url, header }
        }
        ApiError::ParseIntError(_) => FetchError::Reply { url, header: "content-range" },
        ApiError::LockAcquisition(path) => FetchError::Locked { path },
        other => FetchError::Network { url, source: Box::new(other) },
    }
}

fn by_status(status: u16, file: &RemoteFile, url: String) -> FetchError {
    let repo_id = file.repo_id.clone();
    match status {
        401 | 403 => FetchError::Unauthorized { repo_id, url, status },
        404 => FetchError::NotFound { repo_id, path: file.path.clone(), url },
        429 => FetchError::RateLimited { url },
        500..=599 => FetchError::Server { url, status },
        _ => FetchError::Status { url, status },
    }
}

/// Whether an error met while copying a reply to disk comes from the disk.
fn is_local(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::AlreadyExists
    )
}
