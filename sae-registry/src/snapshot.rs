//! `Snapshot`: all the files of one model or SAE, fetched into one folder.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use sae_core::fetch::{Fetch, FetchError, RemoteFile};
use serde::Deserialize;

use crate::Error;

/// Files of a model that may be absent.
const TOKENIZER_FILES: [&str; 3] =
    ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// Forms of weights, the best first: one file, or the index of its shards.
const WEIGHTS: [[&str; 2]; 2] = [
    ["model.safetensors", "model.safetensors.index.json"],
    ["pytorch_model.bin", "pytorch_model.bin.index.json"],
];

/// The state dict of TransformerLens' own models.
const STATE_DICT: &str = "model_final.pth";

/// Files of one revision, all in one local folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder the files lie in.
    pub dir: PathBuf,
    /// Names of the files that are there, relative to `dir`.
    pub files: Vec<String>,
    /// Those of `files` that hold tensors, in order of name.
    pub weights: Vec<String>,
}

/// Fetches what a model is loaded from: `config.json`, the tokenizer files that exist, and weights in
/// the first of these forms that the repository has: `model.safetensors`,
/// `model.safetensors.index.json` with all its shards, `pytorch_model.bin`,
/// `pytorch_model.bin.index.json` with all its shards, `model_final.pth`.
///
/// # Errors
/// [`Error::Fetch`] if a file is absent or out of reach, [`Error::Index`] or [`Error::EmptyIndex`]
/// for a bad shard index, [`Error::Scattered`] if the repository changes during the calls.
pub fn model_files(fetch: &dyn Fetch, repo_id: &str, revision: &str) -> Result<Snapshot, Error> {
    settled(|| {
        let mut gather = Gather::new(fetch, repo_id, revision, "");
        gather.need("config.json")?;
        for name in TOKENIZER_FILES {
            gather.want(name)?;
        }
        let mut usual = None;
        for [whole, index] in WEIGHTS {
            match gather.need(whole) {
                Ok(_) => return Ok(gather.finish([whole.to_owned()])),
                Err(Error::Fetch(e)) if is_absent(&e) => usual = usual.or(Some(e)),
                Err(e) => return Err(e),
            }
            if let Some(index) = gather.want(index)? {
                let shards = shards(&index)?;
                for shard in &shards {
                    gather.need(shard)?;
                }
                return Ok(gather.finish(shards));
            }
        }
        if gather.want(STATE_DICT)?.is_some() {
            return Ok(gather.finish([STATE_DICT.to_owned()]));
        }
        // Names the usual file if the repository has none of the forms.
        match usual {
            Some(e) => Err(e.into()),
            None => Ok(gather.finish([])),
        }
    })
}

/// Fetches a tokenizer alone: `tokenizer.json`, and what says which tokens are special.
///
/// # Errors
/// As [`model_files`].
pub fn tokenizer_files(
    fetch: &dyn Fetch,
    repo_id: &str,
    revision: &str,
) -> Result<Snapshot, Error> {
    settled(|| {
        let mut gather = Gather::new(fetch, repo_id, revision, "");
        let [tokenizer, rest @ ..] = TOKENIZER_FILES;
        gather.need(tokenizer)?;
        for name in rest {
            gather.want(name)?;
        }
        Ok(gather.finish([]))
    })
}

/// Fetches one GGUF file, which holds a whole model with its tokenizer.
///
/// # Errors
/// [`Error::Fetch`] if it is absent or out of reach.
pub fn gguf_file(
    fetch: &dyn Fetch,
    repo_id: &str,
    file: &str,
    revision: &str,
) -> Result<PathBuf, Error> {
    Ok(fetch.get(&RemoteFile::new(repo_id, file).at(revision))?)
}

/// Fetches an SAE as SAELens writes it: `cfg.json`, `sae_weights.safetensors` and, if it exists,
/// `sparsity.safetensors`, from `folder` of a repository (empty for its root).
///
/// # Errors
/// [`Error::Fetch`] if a file is absent or out of reach, [`Error::Scattered`] if the repository changes
/// during the calls.
pub fn sae_files(
    fetch: &dyn Fetch,
    repo_id: &str,
    folder: &str,
    revision: &str,
) -> Result<Snapshot, Error> {
    settled(|| {
        let mut gather = Gather::new(fetch, repo_id, revision, folder.trim_matches('/'));
        const WEIGHTS: &str = "sae_weights.safetensors";
        gather.need("cfg.json")?;
        gather.need(WEIGHTS)?;
        gather.want("sparsity.safetensors")?;
        Ok(gather.finish([WEIGHTS.to_owned()]))
    })
}

/// Runs `fetch_all` again if a branch moved between two of its files: the second time all of them
/// are asked for at the commit that the branch is now known to be at.
fn settled(fetch_all: impl Fn() -> Result<Snapshot, Error>) -> Result<Snapshot, Error> {
    match fetch_all() {
        Err(Error::Scattered { .. }) => fetch_all(),
        other => other,
    }
}

/// Whether the file is not to be had: it does not exist, or did not exist when we were last online.
fn is_absent(e: &FetchError) -> bool {
    matches!(e, FetchError::NotFound { .. } | FetchError::Offline { .. })
}

/// Fetches files of one folder and sees that they arrive in one folder.
struct Gather<'a> {
    fetch: &'a dyn Fetch,
    repo_id: &'a str,
    revision: &'a str,
    folder: &'a str,
    dir: PathBuf,
    files: Vec<String>,
}

impl<'a> Gather<'a> {
    fn new(fetch: &'a dyn Fetch, repo_id: &'a str, revision: &'a str, folder: &'a str) -> Self {
        Self { fetch, repo_id, revision, folder, dir: PathBuf::new(), files: Vec::new() }
    }

    fn need(&mut self, name: &str) -> Result<PathBuf, Error> {
        let remote = match self.folder {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        };
        let path = self.fetch.get(&RemoteFile::new(self.repo_id, remote).at(self.revision))?;
        // A shard may lie in a subfolder: drop as many parts as its name has.
        let dir = path.ancestors().nth(name.split('/').count()).unwrap_or(Path::new(""));
        if self.files.is_empty() {
            self.dir = dir.to_owned();
        } else if self.dir != dir {
            let (repo_id, dir) = (self.repo_id.to_owned(), self.dir.clone());
            return Err(Error::Scattered { repo_id, dir, path });
        }
        self.files.push(name.to_owned());
        Ok(path)
    }

    fn want(&mut self, name: &str) -> Result<Option<PathBuf>, Error> {
        match self.need(name) {
            Ok(path) => Ok(Some(path)),
            Err(Error::Fetch(e)) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn finish(self, weights: impl IntoIterator<Item = String>) -> Snapshot {
        Snapshot { dir: self.dir, files: self.files, weights: weights.into_iter().collect() }
    }
}

/// An index of shards, as `transformers` writes it.
#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// The distinct shard names of an index, in order.
fn shards(path: &Path) -> Result<BTreeSet<String>, Error> {
    let file =
        File::open(path).map_err(|source| FetchError::Io { path: path.to_owned(), source })?;
    let index: Index = serde_json::from_reader(BufReader::new(file))
        .map_err(|source| Error::Index { path: path.to_owned(), source })?;
    if index.weight_map.is_empty() {
        return Err(Error::EmptyIndex { path: path.to_owned() });
    }
    Ok(index.weight_map.into_values().collect())
}
