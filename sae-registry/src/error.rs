//! What can go wrong between the name of a published model or SAE and its files.

use std::path::PathBuf;

use sae_core::fetch::FetchError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A shard index that cannot be read.
    #[error("{path}: not a safetensors index")]
    Index {
        /// The index file.
        path: PathBuf,
        /// What the JSON reader says.
        #[source]
        source: serde_json::Error,
    },
    /// A shard index that lists no shard.
    #[error("{path}: `weight_map` is empty, expected at least one shard")]
    EmptyIndex {
        /// The index file.
        path: PathBuf,
    },
    /// Files of one revision arrived in different folders, twice in a row.
    #[error("{path}: outside {dir}; `{repo_id}` changed while it was fetched")]
    Scattered {
        /// The repository.
        repo_id: String,
        /// The folder of the first file.
        dir: PathBuf,
        /// A file that lies elsewhere.
        path: PathBuf,
    },
}
