//! A download that breaks off is continued, and never taken for the whole file.

use std::fs;
use std::path::PathBuf;

use sae_registry::{Fetch, FetchError, Hub, RemoteFile};

use crate::server::{Fault, Kind, REPO, Server, transfers};

const SIZE: usize = 100_000;
const CUT: usize = 40_000;

fn file() -> RemoteFile {
    RemoteFile::new(REPO, "model.safetensors")
}

fn body() -> Vec<u8> {
    (0..SIZE).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// A server whose first transfers go wrong in this way.
fn server(faults: &[Fault]) -> Server {
    let server = Server::new().put("model.safetensors", Kind::Large(302), &body());
    faults.iter().fold(server, |server, fault| server.fault(*fault))
}

fn check_whole(hub: &Hub) {
    assert!(fs::read(hub.get(&file()).unwrap()).unwrap() == body());
}

/// The file with that ending among the contents in the cache.
fn blob(server: &Server, ending: &str) -> Option<PathBuf> {
    let dir = fs::read_dir(server.cache.path().join("models--owner--name/blobs")).unwrap();
    let mut paths = dir.map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().map_or("", |e| e.to_str().unwrap()) == ending)
}

#[test]
fn a_cut_download_is_an_error_then_continued_where_it_stopped() {
    let server = server(&[Fault::CutAfter(CUT)]);
    let hub = server.hub();
    let error = hub.get(&file()).unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error:?}");
    let offline = hub.clone().offline(true).get(&file());
    assert!(matches!(offline, Err(FetchError::Offline { .. })), "{offline:?}");

    let kept = fs::metadata(blob(&server, "part").unwrap()).unwrap().len();
    assert!(kept > 0, "nothing was kept of {CUT} bytes");
    server.take_log();
    check_whole(&hub);
    assert!(transfers(&server.take_log()).iter().all(|range| *range == format!("bytes={kept}-")));
}

#[test]
fn cuts_are_mended_within_one_call_when_retries_are_allowed() {
    let server = server(&[Fault::CutAfter(CUT), Fault::Status(503)]);
    check_whole(&server.hub().retries(2));
}

#[test]
fn retries_end() {
    let server = server(&[Fault::CutAfter(1), Fault::CutAfter(1), Fault::CutAfter(1)]);
    assert!(matches!(server.hub().retries(1).get(&file()), Err(FetchError::Network { .. })));
    check_whole(&server.hub().retries(1));
}

#[test]
fn a_refusal_is_not_repeated() {
    let server = server(&[]);
    server.down(Some(403));
    server.hub().retries(5).get(&file()).unwrap_err();
    assert_eq!(server.take_log().len(), 1);
}

#[test]
fn a_server_that_starts_over_does_not_spoil_the_file() {
    let server = server(&[Fault::CutAfter(CUT), Fault::IgnoresRange]);
    let hub = server.hub();
    hub.get(&file()).unwrap_err();
    let error = hub.get(&file()).unwrap_err();
    let FetchError::Incomplete { got_bytes, want_bytes, .. } = error else { panic!("{error:?}") };
    assert!(got_bytes > want_bytes && want_bytes == SIZE as u64, "{got_bytes}");
    assert_eq!(blob(&server, ""), None, "a spoilt file was left");
    check_whole(&hub);
}

/// Puts `part` where an earlier, killed run would have left it.
fn check_after_leftover(part: &[u8], want_transfers: &[&str]) {
    let server = server(&[Fault::CutAfter(CUT)]);
    server.hub().get(&file()).unwrap_err();
    fs::write(blob(&server, "part").unwrap(), part).unwrap();
    server.take_log();
    check_whole(&server.hub());
    let log = server.take_log();
    let mut got = transfers(&log);
    got.dedup();
    assert_eq!(got, want_transfers);
}

#[test]
fn a_run_killed_before_its_last_step_is_completed_without_a_transfer() {
    check_after_leftover(&body(), &[]);
}

#[test]
fn a_leftover_that_is_too_long_is_dropped() {
    check_after_leftover(&[0; SIZE + 1], &["bytes=0-"]);
}

#[test]
fn an_empty_leftover_is_a_start() {
    check_after_leftover(&[], &["bytes=0-"]);
}
