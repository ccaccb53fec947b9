//! The settings of a [`Hub`], made step by step.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::transfer::Progress;

/// The Hugging Face hub, or a server that speaks its protocol.
///
/// A file that is in the cache is never asked for again, so a branch stays at the commit that was
/// first seen; name a commit as the revision, or use another cache folder, to get a later one.
#[derive(Clone)]
pub struct Hub {
    pub(crate) endpoint: String,
    pub(super) cache_dir: Option<PathBuf>,
    pub(crate) token: Option<String>,
    pub(crate) offline: bool,
    pub(crate) retries: u32,
    pub(crate) on_progress: Option<OnProgress>,
}

/// What is called while bytes arrive.
pub(crate) type OnProgress = Arc<dyn Fn(&Progress<'_>) + Send + Sync>;

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl Hub {
    /// Where models are, unless another endpoint is set.
    pub const ENDPOINT: &'static str = "https://huggingface.co";
    /// How often a request that broke off or met a failing server is repeated.
    pub const RETRIES: u32 = 2;

    /// The public hub without a token, cached in `~/.cache/huggingface/hub`; no environment variable
    /// is read except for the home directory.
    #[must_use]
    pub fn new() -> Self {
        Self {
            endpoint: Self::ENDPOINT.to_owned(),
            cache_dir: std::env::home_dir().map(|home| home.join(".cache/huggingface/hub")),
            token: None,
            offline: false,
            retries: Self::RETRIES,
            on_progress: None,
        }
    }

    /// Another server, such as a mirror: scheme and host, without a path.
    #[must_use]
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        let url: String = url.into();
        Self { endpoint: url.trim_end_matches('/').to_owned(), ..self }
    }

    /// The folder that holds `models--{owner}--{name}` folders.
    #[must_use]
    pub fn cache_dir(self, dir: impl Into<PathBuf>) -> Self {
        Self { cache_dir: Some(dir.into()), ..self }
    }

    /// The access token; surrounding white space is dropped, an empty token is none.
    #[must_use]
    pub fn token(self, token: impl AsRef<str>) -> Self {
        let token = token.as_ref().trim();
        Self { token: (!token.is_empty()).then(|| token.to_owned()), ..self }
    }

    /// Whether to serve from the cache only, without any request.
    #[must_use]
    pub fn offline(self, offline: bool) -> Self {
        Self { offline, ..self }
    }

    /// How often a request that broke off or met a failing server is repeated.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Calls `report` at the start of each download and whenever bytes have arrived.
    #[must_use]
    pub fn on_progress(self, report: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        Self { on_progress: Some(Arc::new(report)), ..self }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache_dir", &self.cache_dir)
            // A token must not end up in a log.
            .field("token", &self.token.as_ref().map(|_| "(set)"))
            .field("offline", &self.offline)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}
