//! Environment variables mean what they mean to Python's `huggingface_hub`.

use std::ffi::OsString;
use std::fs;

use sae_registry::{Fetch, FetchError, Hub, RemoteFile};
use tempfile::TempDir;

use crate::server::{Kind, REPO, Server};

/// A hub that sees these variables and no others.
fn hub(vars: &[(&str, &str)]) -> Hub {
    Hub::from_vars(|name| {
        vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
    })
}

/// The `Debug` form is what can be seen from outside; it must have each of these.
fn check(vars: &[(&str, &str)], want: &[&str]) {
    let seen = format!("{:?}", hub(vars));
    for part in want {
        assert!(seen.contains(part), "{vars:?}: no `{part}` in {seen}");
    }
}

#[test]
fn the_cache_folder_follows_the_variables() {
    check(&[], &["cache_dir: None", "endpoint: \"https://huggingface.co\"", "offline: false"]);
    check(&[("HOME", "/u")], &["/u/.cache/huggingface/hub"]);
    check(&[("HOME", "/u"), ("XDG_CACHE_HOME", "/c")], &["\"/c/huggingface/hub\""]);
    check(&[("HOME", "/u"), ("HF_HOME", "/h")], &["\"/h/hub\""]);
    check(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/k")], &["\"/k\""]);
    check(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/k")], &["\"/k\""]);
    check(&[("HF_HOME", ""), ("HOME", "/u")], &["/u/.cache/huggingface/hub"]);
}

#[test]
fn endpoint_and_offline_mode_follow_the_variables() {
    check(&[("HF_ENDPOINT", "https://mirror.example/")], &["\"https://mirror.example\""]);
    for yes in ["1", "true", "ON", "Yes"] {
        check(&[("HF_HUB_OFFLINE", yes)], &["offline: true"]);
        check(&[("TRANSFORMERS_OFFLINE", yes)], &["offline: true"]);
    }
    for no in ["0", "false", "", "2"] {
        check(&[("HF_HUB_OFFLINE", no)], &["offline: false"]);
    }
    check(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")], &["offline: false"]);
}

#[test]
fn without_a_home_there_is_no_cache() {
    let error = hub(&[]).get(&RemoteFile::new(REPO, "config.json")).unwrap_err();
    assert!(matches!(error, FetchError::NoCacheDir), "{error:?}");
}

/// The header that a hub with these variables sends.
fn check_token(vars: &[(&str, &str)], want: Option<&str>) {
    let server = Server::new().put("config.json", Kind::Direct, b"{}");
    let hub = hub(vars).endpoint(&server.address).cache_dir(server.cache.path());
    hub.get(&RemoteFile::new(REPO, "config.json")).unwrap();
    let want = want.map(|token| format!("Bearer {token}"));
    assert!(server.take_log().iter().all(|request| request.authorization == want), "{vars:?}");
}

#[test]
fn the_token_comes_from_a_variable_or_a_file() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("token"), "hf_file\n").unwrap();
    fs::write(home.path().join("other"), "hf_other\n").unwrap();
    let (dir, other) = (home.path().to_str().unwrap(), home.path().join("other"));
    let (in_home, other) = (("HF_HOME", dir), other.to_str().unwrap());

    check_token(&[], None);
    check_token(&[("HF_TOKEN", " hf_var\n")], Some("hf_var"));
    check_token(&[("HUGGING_FACE_HUB_TOKEN", "hf_old")], Some("hf_old"));
    check_token(&[("HF_TOKEN", "hf_var"), ("HUGGING_FACE_HUB_TOKEN", "hf_old")], Some("hf_var"));
    check_token(&[in_home], Some("hf_file"));
    check_token(&[in_home, ("HF_TOKEN_PATH", other)], Some("hf_other"));
    check_token(&[in_home, ("HF_TOKEN", "hf_var")], Some("hf_var"));
    check_token(&[in_home, ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")], None);
}
