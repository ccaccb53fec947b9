//! Each way in which a server refuses is told apart, and leaves nothing that looks like the file.

use std::net::TcpListener;

use sae_registry::{Fetch, FetchError, RemoteFile};

use crate::server::{Fault, Kind, REPO, Server};

fn file() -> RemoteFile {
    RemoteFile::new(REPO, "config.json")
}

/// Fetches the file, expects a message, and sees that a later attempt is not fooled.
fn check(server: &Server, want: &str) -> FetchError {
    let error = server.hub().get(&file()).unwrap_err();
    let message = error.to_string().replace(&server.address, "HUB");
    assert_eq!(message, want);
    let later = server.hub().offline(true).get(&file());
    assert!(matches!(later, Err(FetchError::Offline { .. })), "{later:?}");
    error
}

fn check_status(status: u16, want: &str) -> FetchError {
    let server = Server::new().put("config.json", Kind::Relative(307), b"{}");
    server.down(Some(status));
    check(&server, want)
}

const URL: &str = "HUB/owner/name/resolve/main/config.json";

#[test]
fn statuses_are_told_apart() {
    let login = "if the repository exists it is private or gated: set HF_TOKEN, and accept its \
                 licence on its page";
    let e = check_status(401, &format!("owner/name: status 401 from {URL}; {login}"));
    assert!(matches!(e, FetchError::Unauthorized { status: 401, .. }));
    let e = check_status(403, &format!("owner/name: status 403 from {URL}; {login}"));
    assert!(matches!(e, FetchError::Unauthorized { status: 403, .. }));
    let e = check_status(
        429,
        &format!("{URL}: status 429, too many requests; wait some minutes, or set HF_TOKEN"),
    );
    assert!(matches!(e, FetchError::RateLimited { .. }));
    for status in [500, 503] {
        let e = check_status(status, &format!("{URL}: status {status}, the server failed"));
        assert!(matches!(e, FetchError::Server { .. }));
    }
    let e = check_status(410, &format!("{URL}: status 410, expected a file"));
    assert!(matches!(e, FetchError::Status { status: 410, .. }));
}

#[test]
fn an_absent_file_is_named() {
    let e = check(&Server::new(), &format!("owner/name: no file `config.json` at {URL}"));
    assert!(matches!(e, FetchError::NotFound { .. }));
}

#[test]
fn a_gated_repository_needs_a_token_and_the_right_one() {
    let server = Server::new().put("config.json", Kind::Direct, b"{}").demand_token("hf_right");
    let status = |result| match result {
        Err(FetchError::Unauthorized { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(server.hub().get(&file())), 401);
    assert_eq!(status(server.hub().token("hf_wrong").get(&file())), 403);
    server.hub().token("hf_right").get(&file()).unwrap();
}

#[test]
fn a_status_at_the_contents_is_a_refusal_too() {
    let server =
        Server::new().put("config.json", Kind::Large(302), b"{}").fault(Fault::Status(503));
    check(&server, &format!("{URL}: status 503, the server failed"));
}

#[test]
fn a_server_that_is_not_a_hub_is_found_out() {
    let server = Server::new().put("config.json", Kind::Direct, b"{}").without_commit_header();
    check(&server, &format!("{URL}: reply has no usable `x-repo-commit` header"));
}

#[test]
fn no_server_is_a_network_error() {
    let server = Server::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = server.hub().endpoint(format!("http://{closed}"));
    let error = hub.get(&file()).unwrap_err();
    assert!(matches!(error, FetchError::Network { .. }), "{error:?}");
}
