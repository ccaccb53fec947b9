//! Large files: git-LFS' batch interface, with the hub's own transfer in parts.
//!
//! <https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>; the transfer `multipart` is that of
//! Python's `huggingface_hub` (`lfs.py`).

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Sent;
use super::client::{Client, accepted, bare, network};
use crate::Error;
use crate::hub::Progress;

/// What both sides of the batch interface speak.
const LFS_JSON: &str = "application/vnd.git-lfs+json";
/// Wait before the first repetition of a transfer; doubled for each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Bytes read at a time for a checksum.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: u16,
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

/// Sends the files that the hub does not have yet, each with its checksum.
pub(super) fn send(client: &Client<'_>, files: &[(&Sent, String)]) -> Result<(), Error> {
    let url = format!("{}/{}.git/info/lfs/objects/batch", client.hub.endpoint, client.push.repo_id);
    let objects: Vec<Value> =
        files.iter().map(|(file, oid)| json!({ "oid": oid, "size": file.size_bytes })).collect();
    let body = json!({
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": objects,
        "hash_algo": "sha256",
        "ref": { "name": client.push.revision },
    });
    let reply =
        client.post(&url, LFS_JSON, &[("accept", LFS_JSON)], body.to_string().as_bytes())?;
    let unusable = |what| Error::PushReply { url: url.clone(), what };
    let batch: Batch =
        serde_json::from_value(reply).map_err(|_| unusable("what to do with each large file"))?;
    for (file, oid) in files {
        let object = batch.objects.iter().find(|object| object.oid == *oid);
        let object = object.ok_or_else(|| unusable("what to do with each large file"))?;
        if let Some(Fault { code, message }) = &object.error {
            let said = format!("{}: {message}", file.path);
            return Err(Error::Refused { url: url.clone(), status: *code, said });
        }
        // Without an action the hub has it.
        let Some(actions) = &object.actions else { continue };
        if let Some(upload) = &actions.upload {
            upload_one(client, file, oid, upload)?;
        }
        if let Some(verify) = &actions.verify {
            let body = json!({ "oid": oid, "size": file.size_bytes }).to_string();
            client.post(&verify.href, LFS_JSON, &[("accept", LFS_JSON)], body.as_bytes())?;
        }
    }
    Ok(())
}

fn upload_one(client: &Client<'_>, file: &Sent, oid: &str, upload: &Action) -> Result<(), Error> {
    let Some(size) = upload.header.get("chunk_size") else {
        put(client, file, &upload.href, 0, file.size_bytes)?;
        return Ok(());
    };
    let unusable = || {
        let what = "the addresses of all parts of a large file";
        Error::PushReply { url: bare(&upload.href), what }
    };
    // The hub writes the number as text.
    let size = size.as_u64().or_else(|| size.as_str()?.parse().ok()).filter(|size| *size > 0);
    let size = size.ok_or_else(unusable)?;
    let mut parts: Vec<(u64, &str)> = upload
        .header
        .iter()
        .filter_map(|(name, url)| Some((name.parse().ok()?, url.as_str()?)))
        .collect();
    parts.sort_unstable();
    if parts.len() as u64 != file.size_bytes.div_ceil(size) {
        return Err(unusable());
    }
    let mut done = Vec::new();
    for (i, (number, url)) in parts.iter().enumerate() {
        let start = i as u64 * size;
        let etag = put(client, file, url, start, size.min(file.size_bytes - start))?;
        done.push(json!({ "partNumber": number, "etag": etag.ok_or_else(unusable)? }));
    }
    let body = json!({ "oid": oid, "parts": done }).to_string();
    let request = client.agent.post(&upload.href).header("accept", LFS_JSON);
    let reply = request.header("content-type", LFS_JSON).send(body.as_bytes());
    accepted(&upload.href, reply.map_err(|e| network(&upload.href, e))?).map(drop)
}

/// Puts a part of a file at an address that is its own permission, again if the fault may pass by itself;
/// the etag of what arrived.
fn put(
    client: &Client<'_>,
    file: &Sent,
    url: &str,
    start: u64,
    bytes: u64,
) -> Result<Option<String>, Error> {
    let mut wait = FIRST_WAIT;
    let mut attempt = 0;
    loop {
        let mut body = file.part(start, bytes)?;
        let mut watched = Watched { client, file, body: &mut body, done_bytes: start };
        let reply = client
            .agent
            .put(url)
            .header("content-length", bytes.to_string())
            .send(ureq::SendBody::from_reader(&mut watched));
        let outcome = reply.map_err(|e| network(url, e)).and_then(|reply| {
            let etag = reply.headers().get("etag").and_then(|etag| etag.to_str().ok());
            let etag = etag.map(str::to_owned);
            accepted(url, reply).map(|_| etag)
        });
        let passes = match &outcome {
            Err(Error::Refused { status, .. }) => *status >= 500,
            Err(Error::Fetch(_)) => true,
            _ => false,
        };
        if !passes || attempt == client.hub.retries {
            return outcome;
        }
        attempt += 1;
        std::thread::sleep(wait);
        wait *= 2;
    }
}

/// Contents on their way, reported as they go.
struct Watched<'a> {
    client: &'a Client<'a>,
    file: &'a Sent,
    body: &'a mut dyn Read,
    done_bytes: u64,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.done_bytes += read as u64;
        if let Some(report) = &self.client.hub.on_progress {
            let file = &self.client.push.remote(&self.file.path);
            report(&Progress {
                file,
                done_bytes: self.done_bytes,
                size_bytes: self.file.size_bytes,
            });
        }
        Ok(read)
    }
}

impl Sent {
    /// `bytes` of the contents from `start` on.
    fn part(&self, start: u64, bytes: u64) -> Result<Box<dyn Read + '_>, Error> {
        Ok(Box::new(self.open(start)?.take(bytes)))
    }

    /// SHA-256 of the contents, in hexadecimal digits.
    pub(super) fn sha256(&self) -> Result<String, Error> {
        let mut content = self.open(0)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK_BYTES]);
        loop {
            match content.read(&mut buffer).map_err(|e| self.io(e))? {
                0 => return Ok(format!("{:x}", hash.finalize())),
                read => hash.update(&buffer[..read]),
            }
        }
    }
}
