//! `Push`: SAEs published in a repository of the hub, as SAELens publishes them.
//!
//! Layout and text are those of `upload_saes_to_huggingface`
//! (`sae_lens/training/upload_saes_to_huggingface.py`): each SAE in a folder that is named as its id, one
//! commit for each, and a README.md if there is none.

mod client;
mod lfs;
mod readme;

use std::path::{Path, PathBuf};

use sae_core::fetch::{FetchError, RemoteFile};

use crate::{Error, Hub};

/// Files of an SAE that must be there.
const NEEDED: [&str; 2] = ["cfg.json", "sae_weights.safetensors"];
/// Files of an SAE that are published if they are there; nothing else is.
const WANTED: [&str; 2] = ["sparsity.safetensors", "runner_cfg.json"];
const README: &str = "README.md";

/// SAEs that are to be published together.
///
/// ```no_run
/// use sae_registry::{Hub, Push};
///
/// let push = Push::new("me/my-saes").sae("blocks.7.hook_resid_pre", "output/sae");
/// for commit in push.commits()? {
///     println!("{}: {} files", commit.message, commit.files.len());
/// }
/// push.send(&Hub::from_env())?; // needs HF_TOKEN with the right to write
/// # Ok::<(), sae_registry::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Push {
    repo_id: String,
    revision: String,
    private: bool,
    readme: bool,
    saes: Vec<(String, PathBuf)>,
}

/// One commit, as it will be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The first line of its message.
    pub message: String,
    /// What it puts into the repository.
    pub files: Vec<Sent>,
    /// Whether it is made only if the repository has none of these files.
    pub if_absent: bool,
}

/// A file that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its path in the repository.
    pub path: String,
    /// What it holds.
    pub content: Content,
    /// Its length.
    pub size_bytes: u64,
}

/// Where the contents of a file are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// In a file here.
    File(PathBuf),
    /// In memory.
    Text(String),
}

/// A commit that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The first line of its message.
    pub message: String,
    /// Its page.
    pub url: String,
}

impl Push {
    /// Nothing yet, for the branch `main` of a repository; it is made if it does not exist.
    pub fn new(repo_id: impl Into<String>) -> Self {
        let (repo_id, revision) = (repo_id.into(), RemoteFile::MAIN.to_owned());
        Self { repo_id, revision, private: false, readme: true, saes: Vec::new() }
    }

    /// For another branch, which must exist.
    #[must_use]
    pub fn revision(self, revision: impl Into<String>) -> Self {
        Self { revision: revision.into(), ..self }
    }

    /// Whether a repository that has to be made is private.
    #[must_use]
    pub fn private(self, private: bool) -> Self {
        Self { private, ..self }
    }

    /// Whether a README.md is written if there is none.
    #[must_use]
    pub fn readme(self, readme: bool) -> Self {
        Self { readme, ..self }
    }

    /// Also the SAE in that folder, under that id.
    #[must_use]
    pub fn sae(mut self, id: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        self.saes.push((id.into(), folder.into()));
        self
    }

    /// Also every SAE in or below a folder. The id of the folder itself is its name, of others their
    /// path below it.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be read.
    pub fn saes_below(mut self, folder: &Path) -> Result<Self, Error> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        let whole = std::fs::canonicalize(folder).map_err(io(folder))?;
        let mut open = vec![whole.clone()];
        let mut found = Vec::new();
        while let Some(dir) = open.pop() {
            if NEEDED.iter().all(|name| dir.join(name).is_file()) {
                let below = dir.strip_prefix(&whole).unwrap_or(&dir);
                let id = if below.as_os_str().is_empty() { dir.file_name() } else { None };
                let parts = below.iter().chain(id).map(|part| part.to_string_lossy());
                found.push((parts.collect::<Vec<_>>().join("/"), dir));
                continue;
            }
            for entry in std::fs::read_dir(&dir).map_err(io(&dir))? {
                let path = entry.map_err(io(&dir))?.path();
                if path.is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        self.saes.extend(found);
        Ok(self)
    }

    /// What will be sent, found out without a request.
    ///
    /// # Errors
    /// [`Error::NothingToPush`] without an SAE, [`Error::NoSae`] for a folder that is none,
    /// [`Error::Fetch`] for a repository or an id that cannot be a name on the hub.
    pub fn commits(&self) -> Result<Vec<Commit>, Error> {
        if self.saes.is_empty() {
            return Err(Error::NothingToPush { repo_id: self.repo_id.clone() });
        }
        let mut commits = Vec::new();
        for (id, folder) in &self.saes {
            let mut files = Vec::new();
            for name in NEEDED.iter().chain(&WANTED) {
                let local = folder.join(name);
                let size_bytes = match std::fs::metadata(&local) {
                    Ok(file) if file.is_file() => file.len(),
                    _ if WANTED.contains(name) => continue,
                    _ => return Err(Error::NoSae { folder: folder.clone(), missing: name }),
                };
                files.push(self.sent(format!("{id}/{name}"), Content::File(local), size_bytes)?);
            }
            commits.push(Commit { message: format!("Upload SAE {id}"), files, if_absent: false });
        }
        if self.readme {
            let text = readme::readme(&self.repo_id, self.saes.iter().map(|(id, _)| id.as_str()));
            let size_bytes = text.len() as u64;
            let files = vec![self.sent(README.to_owned(), Content::Text(text), size_bytes)?];
            commits.push(Commit { message: "Add README.md".to_owned(), files, if_absent: true });
        }
        Ok(commits)
    }

    fn sent(&self, path: String, content: Content, size_bytes: u64) -> Result<Sent, FetchError> {
        self.remote(&path).check()?;
        Ok(Sent { path, content, size_bytes })
    }

    fn remote(&self, path: &str) -> RemoteFile {
        RemoteFile::new(&self.repo_id, path).at(&self.revision)
    }

    /// Makes the repository if need be, and then the commits, one after the other.
    ///
    /// Large files that the hub already has are not sent again, so that what broke off can be repeated.
    ///
    /// # Errors
    /// Those of [`commits`](Self::commits), [`Error::NoToken`], [`Error::Refused`] with what the hub
    /// says, [`Error::Fetch`] if it is out of reach.
    pub fn send(&self, hub: &Hub) -> Result<Vec<Committed>, Error> {
        let commits = self.commits()?;
        let client = client::Client::new(hub, self)?;
        client.make_repository()?;
        let mut made = Vec::new();
        for commit in &commits {
            if commit.if_absent && client.has_any(&commit.files)? {
                continue;
            }
            made.push(client.commit(commit)?);
        }
        Ok(made)
    }
}
