//! A small server that speaks the hub's protocol as huggingface.co does.
//!
//! Small files: `/{repo}/resolve/{revision}/{path}` answers 307 with a relative address that has the
//! contents. Large files: 302 with an absolute address, and `x-linked-*` for what is there.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use sae_registry::Hub;
use tempfile::TempDir;

/// The commit that `main` is at when the server starts.
pub(crate) const FIRST_COMMIT: &str = "1111111111111111111111111111111111111111";
/// A later commit.
pub(crate) const SECOND_COMMIT: &str = "2222222222222222222222222222222222222222";
/// A repository that the server has, whatever the files.
pub(crate) const REPO: &str = "owner/name";

/// How a file is served.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// At the resolve address itself.
    Direct,
    /// After a relative redirect with this status.
    Relative(u16),
    /// After an absolute redirect with this status, as large files are.
    Large(u16),
}

/// What goes wrong with one transfer of contents.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The connection ends after that many bytes of the body.
    CutAfter(usize),
    /// The whole file is sent, whatever range was asked for.
    IgnoresRange,
    /// A status instead of contents.
    Status(u16),
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) authorization: Option<String>,
    /// Whether the address is one that contents are sent from.
    pub(crate) at_contents: bool,
}

struct Site {
    commit: String,
    files: HashMap<String, (Kind, Vec<u8>)>,
    /// Faults of the coming transfers, in order.
    faults: VecDeque<Fault>,
    /// Status of every request, if set.
    down: Option<u16>,
    /// Token that is demanded, if any.
    token: Option<String>,
    /// Whether to leave out `x-repo-commit`.
    no_commit: bool,
    log: Vec<Request>,
}

/// The server and a cache folder; both go away with this value.
pub(crate) struct Server {
    site: Arc<Mutex<Site>>,
    pub(crate) address: String,
    pub(crate) cache: TempDir,
}

impl Server {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let site = Arc::new(Mutex::new(Site {
            commit: FIRST_COMMIT.to_owned(),
            files: HashMap::new(),
            faults: VecDeque::new(),
            down: None,
            token: None,
            no_commit: false,
            log: Vec::new(),
        }));
        let (shared, base) = (Arc::clone(&site), address.clone());
        // Ends with the test process; a thread per connection, since a client may hold several.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, base) = (Arc::clone(&shared), base.clone());
                std::thread::spawn(move || drop(answer(stream, &shared, &base)));
            }
        });
        Self { site, address, cache: TempDir::new().unwrap() }
    }

    /// A hub on this server that does not repeat failed requests.
    pub(crate) fn hub(&self) -> Hub {
        Hub::new().endpoint(&self.address).cache_dir(self.cache.path()).retries(0)
    }

    pub(crate) fn put(self, path: &str, kind: Kind, body: &[u8]) -> Self {
        self.add(path, kind, body);
        self
    }

    pub(crate) fn add(&self, path: &str, kind: Kind, body: &[u8]) {
        self.site.lock().unwrap().files.insert(path.to_owned(), (kind, body.to_owned()));
    }

    pub(crate) fn fault(self, fault: Fault) -> Self {
        self.site.lock().unwrap().faults.push_back(fault);
        self
    }

    pub(crate) fn down(&self, status: Option<u16>) {
        self.site.lock().unwrap().down = status;
    }

    pub(crate) fn demand_token(self, token: &str) -> Self {
        self.site.lock().unwrap().token = Some(token.to_owned());
        self
    }

    pub(crate) fn without_commit_header(self) -> Self {
        self.site.lock().unwrap().no_commit = true;
        self
    }

    /// Moves `main` to another commit.
    pub(crate) fn move_main(&self, commit: &str) {
        self.site.lock().unwrap().commit = commit.to_owned();
    }

    /// The requests since the last call.
    pub(crate) fn take_log(&self) -> Vec<Request> {
        std::mem::take(&mut self.site.lock().unwrap().log)
    }
}

/// The requests of a log that asked for contents, not just for the first byte.
pub(crate) fn transfers(log: &[Request]) -> Vec<&str> {
    let sent = log.iter().filter(|request| request.at_contents);
    sent.filter_map(|r| r.range.as_deref()).filter(|range| *range != "bytes=0-0").collect()
}

fn answer(mut stream: TcpStream, site: &Mutex<Site>, base: &str) -> std::io::Result<()> {
    let request = read_request(&stream)?;
    let mut site = site.lock().unwrap();
    site.log.push(request.clone());

    let status = match (&site.token, site.down) {
        (_, Some(status)) => Some(status),
        (Some(token), _) if request.authorization != Some(format!("Bearer {token}")) => {
            Some(if request.authorization.is_none() { 401 } else { 403 })
        }
        _ => None,
    };
    if let Some(status) = status {
        return reply(&mut stream, status, &[], b"");
    }

    let plain = percent_decode_str(&request.path).decode_utf8_lossy().into_owned();
    let (path, at_contents) = match plain.strip_prefix("/contents/") {
        Some(path) => (path.to_owned(), true),
        None => {
            let named = plain.strip_prefix(&format!("/{REPO}/resolve/"));
            let known = |revision: &str| revision == "main" || revision == site.commit;
            match named.and_then(|rest| rest.split_once('/')) {
                Some((revision, path)) if known(revision) => (path.to_owned(), false),
                _ => return reply(&mut stream, 404, &[], b""),
            }
        }
    };
    let Some((kind, body)) = site.files.get(&path).cloned() else {
        return reply(&mut stream, 404, &[], b"");
    };

    let etag = format!("\"{}\"", etag_of(&body));
    let commit = site.commit.clone();
    let mut headers = vec![("etag", etag.clone())];
    let in_storage = at_contents && matches!(kind, Kind::Large(_));
    if !site.no_commit && !in_storage {
        headers.push(("x-repo-commit", commit));
    }
    let contents = format!("/contents/{}", path.replace(' ', "%20"));
    match kind {
        Kind::Relative(status) if !at_contents => {
            headers.push(("location", contents));
            reply(&mut stream, status, &headers, b"Temporary Redirect")
        }
        Kind::Large(status) if !at_contents => {
            // The etag of the redirect itself is another one.
            headers[0].1 = "\"0ddba11\"".to_owned();
            headers.push(("x-linked-etag", etag));
            headers.push(("x-linked-size", body.len().to_string()));
            headers.push(("accept-ranges", "bytes".to_owned()));
            headers.push(("location", format!("{base}{contents}")));
            reply(&mut stream, status, &headers, b"Found")
        }
        _ => {
            if let Some(logged) = site.log.last_mut() {
                logged.at_contents = true;
            }
            let probes = request.range.as_deref() == Some("bytes=0-0");
            let fault = if probes { None } else { site.faults.pop_front() };
            drop(site);
            send(&mut stream, headers, &body, request.range.as_deref(), fault)
        }
    }
}

fn send(
    stream: &mut TcpStream,
    mut headers: Vec<(&'static str, String)>,
    body: &[u8],
    range: Option<&str>,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    headers.push(("accept-ranges", "bytes".to_owned()));
    if let Some(Fault::Status(status)) = fault {
        return reply(stream, status, &headers, b"");
    }
    let range = range.filter(|_| !matches!(fault, Some(Fault::IgnoresRange)));
    let Some((first, last)) = range.and_then(|r| r.strip_prefix("bytes=")?.split_once('-')) else {
        return reply(stream, 200, &headers, body);
    };
    let first: usize = first.parse().unwrap();
    let last = last.parse().unwrap_or(usize::MAX).min(body.len().saturating_sub(1));
    if first >= body.len() {
        return reply(stream, 416, &headers, b"");
    }
    headers.push(("content-range", format!("bytes {first}-{last}/{}", body.len())));
    let part = &body[first..=last];
    let sent = match fault {
        Some(Fault::CutAfter(bytes)) => &part[..bytes],
        _ => part,
    };
    stream.write_all(head(206, &headers, part.len()).as_bytes())?;
    stream.write_all(sent)
}

fn reply(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    stream.write_all(head(status, headers, body.len()).as_bytes())?;
    stream.write_all(body)
}

fn head(status: u16, headers: &[(&str, String)], body_bytes: usize) -> String {
    let mut head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "content-length: {body_bytes}\r\n\r\n").unwrap();
    head
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut headers = HashMap::new();
    for line in lines {
        match line?.split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    Ok(Request {
        path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
        range: headers.remove("range"),
        authorization: headers.remove("authorization"),
        at_contents: false,
    })
}

/// A name for contents (FNV-1a); equal contents have equal names.
fn etag_of(body: &[u8]) -> String {
    let hash = body.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
