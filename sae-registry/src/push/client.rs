//! The hub's interface for writing: repositories, what kind each file is, commits.
//!
//! Addresses and bodies are those of Python's `huggingface_hub` 0.36 (`hf_api.py`, `_commit_api.py`).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sae_core::fetch::{Fetch, FetchError};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::Agent;

use super::{Commit, Committed, Content, Push, Sent, lfs};
use crate::{Error, Hub};

/// The hub decides by the beginning of a file whether it is kept as a large file.
const SAMPLE_BYTES: u64 = 512;
/// Files that go into a commit itself; the hub takes a few megabytes.
const MOST_INLINE_BYTES: u64 = 10 << 20;
/// What is shown of a refusal.
const MOST_SAID_BYTES: u64 = 4096;
/// How long a connection may take; bodies may take as long as they do.
const CONNECT: Duration = Duration::from_secs(30);

/// A connection that may write to one repository.
pub(super) struct Client<'a> {
    pub(super) agent: Agent,
    pub(super) hub: &'a Hub,
    pub(super) push: &'a Push,
    token: &'a str,
}

/// What the hub says about a file before it is sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mode {
    path: String,
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

#[derive(Deserialize)]
struct Modes {
    files: Vec<Mode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    commit_url: String,
}

impl<'a> Client<'a> {
    pub(super) fn new(hub: &'a Hub, push: &'a Push) -> Result<Self, Error> {
        if hub.offline {
            let file = Box::new(push.remote(super::README));
            return Err(FetchError::Offline { file }.into());
        }
        let token = hub.token.as_deref().ok_or(Error::NoToken)?;
        let agent: Agent = Agent::config_builder()
            // Refusals are read for their words.
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .user_agent(concat!("sae-registry/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Ok(Self { agent, hub, push, token })
    }

    /// Makes the repository; one that exists stays as it is.
    pub(super) fn make_repository(&self) -> Result<(), Error> {
        const EXISTS: u16 = 409;
        let (owner, name) = match self.push.repo_id.split_once('/') {
            Some((owner, name)) => (Some(owner), name),
            None => (None, self.push.repo_id.as_str()),
        };
        let url = format!("{}/api/repos/create", self.hub.endpoint);
        let body = json!({ "name": name, "organization": owner, "private": self.push.private });
        match self.post(&url, "application/json", &[], body.to_string().as_bytes()) {
            Err(Error::Refused { status: EXISTS, .. }) => Ok(()),
            // A token for one repository may not make any; that it exists is found out by writing.
            Err(Error::Refused { status: 403, .. }) if self.exists()? => Ok(()),
            other => other.map(drop),
        }
    }

    fn exists(&self) -> Result<bool, Error> {
        let url = format!("{}/api/models/{}", self.hub.endpoint, self.push.repo_id);
        let reply = self.agent.get(&url).header("authorization", self.bearer()).call();
        Ok(reply.map_err(|e| network(&url, e))?.status().is_success())
    }

    /// Whether the repository has one of the files.
    pub(super) fn has_any(&self, files: &[Sent]) -> Result<bool, Error> {
        for file in files {
            if self.hub.exists(&self.push.remote(&file.path))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends the large files of a commit, then the commit.
    pub(super) fn commit(&self, commit: &Commit) -> Result<Committed, Error> {
        let modes = self.modes(&commit.files)?;
        let mut lines = vec![
            json!({ "key": "header", "value": { "summary": commit.message, "description": "" } }),
        ];
        let mut large = Vec::new();
        for file in &commit.files {
            let mode = modes.iter().find(|mode| mode.path == file.path);
            match mode.map(|mode| (mode.upload_mode.as_str(), mode.should_ignore)) {
                Some((_, true)) => {}
                Some(("regular", _)) if file.size_bytes <= MOST_INLINE_BYTES => {
                    let content = STANDARD.encode(file.read(file.size_bytes)?);
                    lines.push(json!({ "key": "file", "value": {
                        "content": content, "path": file.path, "encoding": "base64",
                    } }));
                }
                Some((_, false)) => {
                    let oid = file.sha256()?;
                    lines.push(json!({ "key": "lfsFile", "value": {
                        "path": file.path, "algo": "sha256", "oid": oid, "size": file.size_bytes,
                    } }));
                    large.push((file, oid));
                }
                None => {
                    let url = self.api("preupload");
                    return Err(Error::PushReply { url, what: "an upload mode for each file" });
                }
            }
        }
        if !large.is_empty() {
            lfs::send(self, &large)?;
        }
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let url = self.api("commit");
        let reply = self.post(&url, "application/x-ndjson", &[], body.as_bytes())?;
        let made: Made = serde_json::from_value(reply)
            .map_err(|_| Error::PushReply { url, what: "the address of the commit" })?;
        Ok(Committed { message: commit.message.clone(), url: made.commit_url })
    }

    /// Asks which files are large.
    fn modes(&self, files: &[Sent]) -> Result<Vec<Mode>, Error> {
        let mut asked = Vec::new();
        for file in files {
            let sample = STANDARD.encode(file.read(SAMPLE_BYTES)?);
            asked.push(json!({ "path": file.path, "sample": sample, "size": file.size_bytes }));
        }
        let url = self.api("preupload");
        let body = json!({ "files": asked }).to_string();
        let reply = self.post(&url, "application/json", &[], body.as_bytes())?;
        let modes: Modes = serde_json::from_value(reply)
            .map_err(|_| Error::PushReply { url, what: "an upload mode for each file" })?;
        Ok(modes.files)
    }

    /// `{endpoint}/api/models/{repository}/{verb}/{revision}`
    fn api(&self, verb: &str) -> String {
        // A branch may hold a slash, which here is one part of the path.
        let revision = self.push.revision.replace('/', "%2F");
        format!("{}/api/models/{}/{verb}/{revision}", self.hub.endpoint, self.push.repo_id)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Posts with the token and reads the JSON reply, `null` for an empty one.
    pub(super) fn post(
        &self,
        url: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Value, Error> {
        let mut request = self.agent.post(url).header("authorization", self.bearer());
        request = request.header("content-type", content_type);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = request.send(body).map_err(|e| network(url, e))?;
        let text = accepted(url, reply)?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        let what = "JSON";
        serde_json::from_str(&text).map_err(|_| Error::PushReply { url: url.to_owned(), what })
    }
}

impl Sent {
    /// The beginning of the contents.
    fn read(&self, most_bytes: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut content = self.open(0)?.take(most_bytes);
        content.read_to_end(&mut bytes).map_err(|source| self.io(source))?;
        Ok(bytes)
    }

    /// The contents from a byte on.
    pub(super) fn open(&self, start: u64) -> Result<Box<dyn Read + '_>, Error> {
        let io = |source| self.io(source);
        Ok(match &self.content {
            Content::File(path) => {
                let mut file = File::open(path).map_err(io)?;
                file.seek(SeekFrom::Start(start)).map_err(io)?;
                Box::new(file)
            }
            Content::Text(text) => {
                let mut text = io::Cursor::new(text.as_bytes());
                text.set_position(start);
                Box::new(text)
            }
        })
    }

    pub(super) fn io(&self, source: io::Error) -> Error {
        let path = match &self.content {
            Content::File(path) => path.clone(),
            Content::Text(_) => self.path.clone().into(),
        };
        Error::Io { path, source }
    }
}

/// The text of a reply that is a success.
pub(super) fn accepted(
    url: &str,
    mut reply: ureq::http::Response<ureq::Body>,
) -> Result<String, Error> {
    let status = reply.status();
    if status.is_success() {
        return reply.body_mut().read_to_string().map_err(|e| network(url, e));
    }
    let said = reply.body_mut().with_config().limit(MOST_SAID_BYTES).read_to_string();
    let said = said.unwrap_or_default();
    // The hub answers `{"error": "..."}`; storage answers XML.
    let error = serde_json::from_str::<Value>(&said).ok();
    let error = error.as_ref().and_then(|value| value.get("error")?.as_str());
    let said = error.unwrap_or(said.trim()).to_owned();
    Err(Error::Refused { url: bare(url), status: status.as_u16(), said })
}

/// An address without its query, which may hold a signature.
pub(super) fn bare(url: &str) -> String {
    url.split('?').next().unwrap_or(url).to_owned()
}

pub(super) fn network(url: &str, source: ureq::Error) -> Error {
    FetchError::Network { url: bare(url), source: Box::new(source) }.into()
}
