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
    /// A file is not what it should be, or its content cannot become an SAE.
    #[error(transparent)]
    Core(#[from] sae_core::Error),
    /// A configuration that is not YAML.
    #[error("{path}: not a YAML mapping")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What the YAML reader says.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// A name from which something cannot be told that the format writes nowhere else.
    #[error("`{name}`: the name does not tell the {what}; expected {want}")]
    UntoldByName {
        /// Repository and path.
        name: String,
        /// What is looked for.
        what: &'static str,
        /// How it would be told.
        want: String,
    },
    /// Files of no known format.
    #[error("`{name}`: files of no known format; looked for {}", looked_for.join(", "))]
    UnknownFormat {
        /// Repository and path.
        name: String,
        /// The files, or tensors, by which formats are known.
        looked_for: Vec<String>,
    },
    /// No converter of that name.
    #[error("`{name}`: no such converter; there are {}", listed(known))]
    UnknownConverter {
        /// The name.
        name: String,
        /// Names that there are.
        known: Vec<String>,
    },
    /// A release that is neither in the catalogue nor a repository.
    #[error(
        "`{name}`: neither a release of the catalogue nor a repository (`owner/name`); nearest: {}",
        listed(nearest)
    )]
    NeitherReleaseNorRepository {
        /// The name.
        name: String,
        /// Names of releases.
        nearest: Vec<String>,
    },
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
    /// A file that cannot be read.
    #[error("{path}: cannot be read")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// No release of that name.
    #[error("`{name}`: no such release; nearest: {}", listed(nearest))]
    UnknownRelease {
        /// The name.
        name: String,
        /// Names that there are.
        nearest: Vec<String>,
    },
    /// No SAE of that name in the release.
    #[error("release `{release}` has no SAE `{id}`; nearest: {}", listed(nearest))]
    UnknownSae {
        /// The release.
        release: String,
        /// The name.
        id: String,
        /// Names that there are.
        nearest: Vec<String>,
    },
    /// A line of a catalogue that is not of its form.
    #[error("catalogue: not a release or an SAE: {line:?}")]
    CatalogueLine {
        /// The line.
        line: String,
    },
    /// A file that is not a catalogue as SAELens writes it.
    #[error("{path}: not a catalogue of SAELens (`pretrained_saes.yaml`)")]
    CatalogueYaml {
        /// The file.
        path: PathBuf,
        /// What the YAML reader says.
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    /// An SAE with fields of a release, of another repository than its own.
    #[error("{path}: release `{release}`: SAE `{id}` holds another release")]
    CatalogueEntry {
        /// The file.
        path: PathBuf,
        /// The release.
        release: String,
        /// The SAE.
        id: String,
    },
    /// Nothing to publish.
    #[error("{repo_id}: no SAE to publish there")]
    NothingToPush {
        /// The repository.
        repo_id: String,
    },
    /// A folder that is no SAE as SAELens writes it.
    #[error("{folder}: the folder has no {missing}")]
    NoSae {
        /// The folder.
        folder: PathBuf,
        /// The file that it lacks.
        missing: &'static str,
    },
    /// Writing needs a token.
    #[error(
        "no token: set HF_TOKEN to one with the right to write (huggingface.co/settings/tokens)"
    )]
    NoToken,
    /// The hub, or its storage, does not do what it was asked.
    #[error("{url}: status {status}: {said}")]
    Refused {
        /// The address that was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it says.
        said: String,
    },
    /// A successful reply that lacks what the hub's protocol promises.
    #[error("{url}: expected {what} in the reply")]
    PushReply {
        /// The address that was asked.
        url: String,
        /// What was expected.
        what: &'static str,
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

/// Names as a sentence lists them.
fn listed(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
