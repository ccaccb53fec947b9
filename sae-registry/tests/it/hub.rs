//! Files come from the hub once, whole, and into the layout that Python shares.

use std::fs;
use std::sync::{Arc, Mutex};

use sae_registry::{Fetch, RemoteFile};

use crate::server::{FIRST_COMMIT, Kind, REPO, SECOND_COMMIT, Server, transfers};

const BODY: &[u8] = b"some contents";

fn file(path: &str) -> RemoteFile {
    RemoteFile::new(REPO, path)
}

/// One file, fetched twice: the second time without a request.
fn check(path: &str, kind: Kind, revision: &str) {
    let server = Server::new().put(path, kind, BODY);
    let (hub, file) = (server.hub(), file(path).at(revision));
    let first = hub.get(&file).unwrap();
    assert_eq!(fs::read(&first).unwrap(), BODY);
    let place = format!("models--owner--name/snapshots/{FIRST_COMMIT}/{path}");
    assert_eq!(first, server.cache.path().join(place));
    assert_eq!(transfers(&server.take_log()), ["bytes=0-"]);

    assert_eq!(hub.get(&file).unwrap(), first);
    assert!(hub.exists(&file).unwrap());
    assert_eq!(server.take_log().len(), 0, "{path} was asked for again");
}

#[test]
fn every_way_of_serving_is_followed() {
    check("config.json", Kind::Direct, "main");
    check("config.json", Kind::Relative(307), "main");
    check("config.json", Kind::Relative(302), "main");
    check("model.safetensors", Kind::Large(302), "main");
    check("model.safetensors", Kind::Large(307), "main");
}

#[test]
fn a_commit_is_a_revision() {
    check("config.json", Kind::Relative(307), FIRST_COMMIT);
}

#[test]
fn folders_and_odd_names_keep_their_names() {
    check("a/b/cfg.json", Kind::Relative(307), "main");
    check("l11.80e+00=x.json", Kind::Relative(307), "main");
    check("my folder/50% of #1?.json", Kind::Direct, "main");
    check("my folder/größe.json", Kind::Direct, "main");
}

#[test]
fn python_finds_the_file_through_refs_and_blobs() {
    let server = Server::new().put("a/cfg.json", Kind::Relative(307), BODY);
    server.hub().get(&file("a/cfg.json")).unwrap();
    let repo = server.cache.path().join("models--owner--name");
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), FIRST_COMMIT);
    let blobs = fs::read_dir(repo.join("blobs")).unwrap().map(|e| e.unwrap().path());
    let whole: Vec<_> = blobs.filter(|b| fs::read(b).unwrap() == BODY).collect();
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].extension(), None);
}

#[test]
fn what_python_cached_at_a_commit_needs_no_ref() {
    let server = Server::new();
    let dir = server.cache.path().join("models--owner--name/snapshots").join(FIRST_COMMIT);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.json"), BODY).unwrap();
    let got = server.hub().get(&file("config.json").at(FIRST_COMMIT)).unwrap();
    assert_eq!(got, dir.join("config.json"));
    assert_eq!(server.take_log().len(), 0);
}

#[test]
fn existence_is_found_out_without_the_contents() {
    let server = Server::new().put("config.json", Kind::Large(302), BODY);
    let hub = server.hub();
    assert!(hub.exists(&file("config.json")).unwrap());
    assert!(!hub.exists(&file("absent.json")).unwrap());
    assert_eq!(transfers(&server.take_log()), [""; 0]);
}

#[test]
fn the_token_is_sent_as_a_bearer() {
    let server = Server::new().put("config.json", Kind::Relative(307), BODY).demand_token("hf_x");
    let hub = server.hub().token("  hf_x\n");
    assert_eq!(fs::read(hub.get(&file("config.json")).unwrap()).unwrap(), BODY);
    for request in server.take_log() {
        assert_eq!(request.authorization.as_deref(), Some("Bearer hf_x"), "{request:?}");
    }
    assert!(!format!("{hub:?}").contains("hf_x"), "a token was printed");
}

#[test]
fn no_token_means_no_header() {
    let server = Server::new().put("config.json", Kind::Direct, BODY);
    server.hub().token(" ").get(&file("config.json")).unwrap();
    assert!(server.take_log().iter().all(|r| r.authorization.is_none()));
}

#[test]
fn contents_that_did_not_change_are_not_fetched_for_a_new_commit() {
    let server = Server::new().put("a/cfg.json", Kind::Large(302), BODY);
    let (hub, file) = (server.hub(), file("a/cfg.json"));
    let first = hub.get(&file).unwrap();
    server.move_main(SECOND_COMMIT);
    server.take_log();
    let second = hub.get(&file.at(SECOND_COMMIT)).unwrap();
    assert_ne!(first, second);
    assert_eq!(fs::read(second).unwrap(), BODY);
    assert_eq!(transfers(&server.take_log()), [""; 0]);
}

#[test]
fn a_link_to_deleted_contents_is_replaced() {
    let server = Server::new().put("config.json", Kind::Direct, BODY);
    let (hub, file) = (server.hub(), file("config.json"));
    let path = hub.get(&file).unwrap();
    fs::remove_file(fs::canonicalize(&path).unwrap()).unwrap();
    assert_eq!(fs::read(hub.get(&file).unwrap()).unwrap(), BODY);
}

#[test]
fn progress_goes_from_nothing_to_the_whole_file() {
    let body = vec![7; 300_000];
    let server = Server::new().put("model.safetensors", Kind::Large(302), &body);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let hub = server.hub().on_progress(move |p| {
        assert_eq!(p.file.path, "model.safetensors");
        sink.lock().unwrap().push((p.done_bytes, p.size_bytes));
    });
    hub.get(&file("model.safetensors")).unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.first(), Some(&(0, 300_000)));
    assert_eq!(seen.last(), Some(&(300_000, 300_000)));
    assert!(seen.is_sorted());
}

#[test]
fn threads_that_want_the_same_file_all_get_it() {
    let body = vec![7; 3_000_000];
    let server = Server::new().put("model.safetensors", Kind::Large(302), &body);
    let hub = server.hub();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let path = hub.get(&file("model.safetensors")).unwrap();
                assert!(fs::read(path).unwrap() == body);
            });
        }
    });
}
