//! A small server that takes what is published, as huggingface.co does.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sae_registry::Hub;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The repository that is written to.
pub(crate) const REPO: &str = "me/saes";
pub(crate) const TOKEN: &str = "hf_write";

/// What arrived, and how to answer.
#[derive(Default)]
pub(crate) struct Mail {
    /// Whether the repository exists before.
    pub(crate) exists: bool,
    /// Whether there is a README.md before.
    pub(crate) readme: bool,
    /// Bytes of a part; whole files if none.
    pub(crate) chunk_size: Option<usize>,
    /// How many transfers fail before one succeeds.
    pub(crate) failures: usize,
    /// Objects by checksum.
    pub(crate) objects: HashMap<String, Vec<u8>>,
    pub(crate) parts: BTreeMap<(String, usize), Vec<u8>>,
    /// The lines of each commit.
    pub(crate) commits: Vec<Vec<Value>>,
    /// Method and path of each request.
    pub(crate) log: Vec<String>,
}

/// The server; it ends with the test process.
pub(crate) struct Inbox {
    pub(crate) state: Arc<Mutex<Mail>>,
    address: String,
    cache: TempDir,
}

struct Request {
    method: String,
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Inbox {
    pub(crate) fn new(state: Mail) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(state));
        let (shared, base) = (Arc::clone(&state), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (shared, base) = (Arc::clone(&shared), base.clone());
                std::thread::spawn(move || {
                    let request = read(&stream);
                    let (status, headers, body) = shared.lock().unwrap().answer(&request, &base);
                    reply(stream, status, &headers, &body);
                });
            }
        });
        Self { state, address, cache: TempDir::new().unwrap() }
    }

    pub(crate) fn hub(&self) -> Hub {
        Hub::new().endpoint(&self.address).cache_dir(self.cache.path()).token(TOKEN).retries(1)
    }
}

type Reply = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn ok(value: &Value) -> Reply {
    (200, Vec::new(), value.to_string().into_bytes())
}

fn no(status: u16, said: &str) -> Reply {
    (status, Vec::new(), json!({ "error": said }).to_string().into_bytes())
}

impl Mail {
    fn answer(&mut self, request: &Request, base: &str) -> Reply {
        let (method, path) = (request.method.as_str(), request.path.as_str());
        self.log.push(format!("{method} {path}"));
        // Addresses of storage are their own permission; the token must not go there.
        let authorization = request.headers.get("authorization").map(String::as_str);
        let storage = path.starts_with("/store/");
        if storage != authorization.is_none() {
            return no(401, "Invalid credentials");
        }
        if !storage && authorization != Some(&format!("Bearer {TOKEN}")) {
            return no(403, "You need write access");
        }
        let json = || serde_json::from_slice::<Value>(&request.body).unwrap();
        let content_type = request.headers.get("content-type").map(String::as_str);
        match (method, path) {
            ("POST", "/api/repos/create") => {
                assert_eq!(json()["organization"], "me");
                assert_eq!(json()["name"], "saes");
                let existed = std::mem::replace(&mut self.exists, true);
                if existed {
                    no(409, "You already created this model repo")
                } else {
                    ok(&json!({}))
                }
            }
            ("POST", "/api/models/me/saes/preupload/main") => {
                let mode = |file: &Value| {
                    let path = file["path"].as_str().unwrap();
                    assert!(file["sample"].as_str().unwrap().len() <= 684, "512 bytes in base 64");
                    let large = path.ends_with(".safetensors");
                    let mode = if large { "lfs" } else { "regular" };
                    json!({ "path": path, "uploadMode": mode, "shouldIgnore": false })
                };
                let files =
                    json()["files"].as_array().unwrap().iter().map(mode).collect::<Vec<_>>();
                ok(&json!({ "files": files }))
            }
            ("POST", "/me/saes.git/info/lfs/objects/batch") => {
                assert_eq!(content_type, Some("application/vnd.git-lfs+json"));
                let asked = json()["objects"].as_array().unwrap().clone();
                let objects = asked.iter().map(|object| self.object(object, base));
                ok(&json!({ "objects": objects.collect::<Vec<_>>() }))
            }
            ("POST", "/verify") => {
                let oid = json()["oid"].as_str().unwrap().to_owned();
                match self.objects.get(&oid) {
                    Some(object) if object.len() as u64 == json()["size"] => ok(&json!({})),
                    _ => no(422, "size mismatch"),
                }
            }
            ("POST", "/api/models/me/saes/commit/main") => {
                assert_eq!(content_type, Some("application/x-ndjson"));
                let text = std::str::from_utf8(&request.body).unwrap();
                let lines: Vec<Value> =
                    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                self.commits.push(lines);
                ok(&json!({ "commitUrl": format!("{base}/me/saes/commit/{}", self.commits.len()) }))
            }
            ("GET", "/me/saes/resolve/main/README.md") if self.readme => {
                let headers = vec![
                    ("etag", "\"abc\"".to_owned()),
                    ("x-repo-commit", "1".repeat(40)),
                    ("content-range", "bytes 0-0/1".to_owned()),
                ];
                (206, headers, b"x".to_vec())
            }
            ("PUT", _) if storage => self.put(path, &request.body),
            ("POST", _) if storage => {
                let oid = path.rsplit('/').next().unwrap().to_owned();
                let parts = json()["parts"].as_array().unwrap().len();
                let whole = (1..=parts).flat_map(|n| self.parts[&(oid.clone(), n)].clone());
                let whole = whole.collect();
                self.objects.insert(oid, whole);
                ok(&json!({}))
            }
            _ => no(404, "Not Found"),
        }
    }

    /// What to do with a large file.
    fn object(&self, object: &Value, base: &str) -> Value {
        let oid = object["oid"].as_str().unwrap();
        if self.objects.contains_key(oid) {
            return object.clone();
        }
        let mut header = serde_json::Map::new();
        if let Some(chunk) = self.chunk_size {
            let size = usize::try_from(object["size"].as_u64().unwrap()).unwrap();
            header.insert("chunk_size".to_owned(), json!(chunk.to_string()));
            for part in 1..=size.div_ceil(chunk) {
                let url = format!("{base}/store/{oid}/{part}?signature=secret");
                header.insert(format!("{part:05}"), json!(url));
            }
        }
        json!({
            "oid": oid, "size": object["size"],
            "actions": {
                "upload": { "href": format!("{base}/store/{oid}"), "header": header },
                "verify": { "href": format!("{base}/verify") },
            },
        })
    }

    fn put(&mut self, path: &str, body: &[u8]) -> Reply {
        if self.failures > 0 {
            self.failures -= 1;
            return (503, Vec::new(), b"<Code>SlowDown</Code>".to_vec());
        }
        let path = path.split('?').next().unwrap();
        let mut names = path.split('/').skip(2);
        let oid = names.next().unwrap().to_owned();
        match names.next() {
            Some(part) => {
                self.parts.insert((oid, part.parse().unwrap()), body.to_vec());
            }
            None => {
                self.objects.insert(oid, body.to_vec());
            }
        }
        (200, vec![("etag", "\"part\"".to_owned())], Vec::new())
    }
}

fn read(stream: &TcpStream) -> Request {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    // Storage takes no chunked bodies.
    assert!(!headers.contains_key("transfer-encoding"), "{method} {path}");
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Request { method, path, headers, body }
}

fn reply(mut stream: TcpStream, status: u16, headers: &[(&str, String)], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
}
