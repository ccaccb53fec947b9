//! `Hub`: files of the Hugging Face hub, kept in the cache that Python's `huggingface_hub` also uses.
//!
//! This is `hf-hub` 0.5 and not 1.0, because 0.5 (`ureq`, blocking) brings 54 crates where 1.0 (`tokio`,
//! `reqwest`, an unconditional Xet client) brings 224, and what 0.5 lacks (offline mode, a length check,
//! reuse of finished downloads, typed statuses) is the few lines of this module.
//!
//! Two limits come with 0.5: it sets no timeouts (interrupt a stalled download and start again, it
//! resumes), and it repeats the token to the host that the endpoint redirects large files to.

mod cache;
mod env;
mod settings;
mod transfer;
mod translate;

use std::time::Duration;

use sae_core::fetch::{Fetch, FetchError, RemoteFile, read_range};

use cache::Slot;
pub use settings::Hub;
pub use transfer::Progress;

/// Wait before the first retry; doubled for each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);

impl Fetch for Hub {
    fn get(&self, file: &RemoteFile) -> Result<std::path::PathBuf, FetchError> {
        let slot = self.slot(file)?;
        if let Some(path) = slot.cached() {
            return Ok(path);
        }
        self.retrying(file, || transfer::download(self, &slot, file))
    }

    fn exists(&self, file: &RemoteFile) -> Result<bool, FetchError> {
        if self.slot(file)?.cached().is_some() {
            return Ok(true);
        }
        match self.retrying(file, || transfer::inspect(self, file)) {
            Ok(_) => Ok(true),
            Err(FetchError::NotFound { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn range(&self, file: &RemoteFile, start: u64, len: u64) -> Result<Vec<u8>, FetchError> {
        match self.slot(file)?.cached() {
            Some(path) => read_range(&path, start, len),
            None => self.retrying(file, || transfer::range(self, file, start, len)),
        }
    }
}

impl Hub {
    fn slot(&self, file: &RemoteFile) -> Result<Slot, FetchError> {
        file.check()?;
        let root = self.cache_dir.clone().ok_or(FetchError::NoCacheDir)?;
        Ok(Slot::new(root, file))
    }

    /// Runs `request`, again when the fault may pass by itself; refuses when offline.
    fn retrying<T>(
        &self,
        file: &RemoteFile,
        request: impl Fn() -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        if self.offline {
            return Err(FetchError::Offline { file: Box::new(file.clone()) });
        }
        let mut wait = FIRST_WAIT;
        for _ in 0..self.retries {
            match request() {
                Err(
                    FetchError::Network { .. }
                    | FetchError::Server { .. }
                    | FetchError::Incomplete { .. },
                ) => std::thread::sleep(wait),
                other => return other,
            }
            wait *= 2;
        }
        request()
    }
}
