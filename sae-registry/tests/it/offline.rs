//! Offline, the cache is all there is.

use std::fs;

use sae_registry::{Fetch, FetchError, RemoteFile, model_files};

use crate::server::{Kind, REPO, Server};

#[test]
fn cached_files_are_served_and_others_are_offline_errors() {
    let server = Server::new().put("a.json", Kind::Direct, b"a").put("b.json", Kind::Direct, b"b");
    let (a, b) = (RemoteFile::new(REPO, "a.json"), RemoteFile::new(REPO, "b.json"));
    server.hub().get(&a).unwrap();
    server.take_log();

    let hub = server.hub().offline(true).retries(3);
    assert_eq!(fs::read(hub.get(&a).unwrap()).unwrap(), b"a");
    assert!(hub.exists(&a).unwrap());
    for missing in [hub.get(&b).map(drop), hub.exists(&b).map(drop)] {
        let Err(FetchError::Offline { file }) = missing else { panic!("{missing:?}") };
        assert_eq!(*file, b);
    }
    let other = hub.get(&a.at("v1"));
    assert!(matches!(other, Err(FetchError::Offline { .. })), "{other:?}");
    assert_eq!(server.take_log().len(), 0, "a request was sent offline");
}

#[test]
fn a_model_without_optional_files_is_served_offline() {
    let server = Server::new().put("config.json", Kind::Relative(307), b"{}").put(
        "model.safetensors",
        Kind::Large(302),
        b"weights",
    );
    let online = model_files(&server.hub(), REPO, "main").unwrap();
    server.take_log();
    let offline = model_files(&server.hub().offline(true), REPO, "main").unwrap();
    assert_eq!(offline, online);
    assert_eq!(server.take_log().len(), 0);
}
