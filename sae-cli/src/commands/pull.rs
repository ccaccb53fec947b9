//! `sae pull`: the files of a published SAE, fetched into the hub's cache and tried.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Result;
use clap::Args;
use sae_core::fetch::{Fetch, FetchError, RemoteFile};
use serde_json::json;

use super::info;
use crate::published::{SaeName, Told};
use crate::{named, progress, show};

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The release (see `sae list`), `RELEASE:ID`, or a hub id with a path.
    pub(crate) release: String,
    /// The SAE of the release.
    pub(crate) id: Option<String>,
}

/// Notes which files were fetched.
struct Noting<'f> {
    fetch: &'f dyn Fetch,
    files: Mutex<BTreeSet<PathBuf>>,
}

impl Fetch for Noting<'_> {
    fn get(&self, file: &RemoteFile) -> Result<PathBuf, FetchError> {
        let path = self.fetch.get(file)?;
        // (Poisoned only if this panicked, which inserting does not.)
        if let Ok(mut files) = self.files.lock() {
            files.insert(path.clone());
        }
        Ok(path)
    }

    fn exists(&self, file: &RemoteFile) -> Result<bool, FetchError> {
        self.fetch.exists(file)
    }

    fn range(&self, file: &RemoteFile, start: u64, len: u64) -> Result<Vec<u8>, FetchError> {
        self.fetch.range(file, start, len)
    }
}

pub(crate) fn pull(args: &PullArgs, as_json: bool) -> Result<()> {
    let name = match &args.id {
        Some(id) => SaeName::Published { release: &args.release, id },
        None => SaeName::parse(&args.release)?,
    };
    let hub = progress::hub(named::FETCHING);
    let noting = Noting { fetch: &hub, files: Mutex::default() };
    // What has been loaded once is whole and of a format that is known.
    let loaded = name.load_from(&noting, &Told::default())?;
    let files = noting.files.into_inner().unwrap_or_default();
    if as_json {
        return show::json(&json!({ "files": files, "notes": loaded.report.notes }));
    }
    show::line(info::table(&info::rows(loaded.sae.spec())))?;
    for file in files {
        show::line(file.display())?;
    }
    Ok(())
}
