//! SAEs are published as SAELens publishes them, whole and once.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sae_registry::{Content, Error, FetchError, Push};
use serde_json::Value;
use tempfile::TempDir;

use crate::inbox::{Inbox, Mail, REPO};

/// Long enough for several reads and, in parts of 1000 bytes, several parts.
fn weights() -> Vec<u8> {
    (0..300_001u32).map(|i| (i % 251) as u8).collect()
}

/// A folder that passes for an SAE, with something else in it.
fn sae(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("cfg.json"), b"{\"d_in\": 4}").unwrap();
    fs::write(dir.join("sae_weights.safetensors"), weights()).unwrap();
    fs::write(dir.join("trainer_state.pt"), b"not for others").unwrap();
}

fn folder() -> TempDir {
    let dir = TempDir::new().unwrap();
    sae(&dir.path().join("sae"));
    dir
}

fn push(dir: &TempDir) -> Push {
    Push::new(REPO).sae("blocks.7.hook_resid_pre", dir.path().join("sae"))
}

/// The values of one kind of line in a commit, by path.
fn lines(commit: &[Value], key: &str) -> HashMap<String, Value> {
    let of_kind = commit.iter().filter(|line| line["key"] == key);
    of_kind
        .map(|line| (line["value"]["path"].as_str().unwrap().to_owned(), line["value"].clone()))
        .collect()
}

/// Publishes to a server in that state and looks at what it has then.
fn check(mail: Mail) -> Arc<Mutex<Mail>> {
    let (dir, inbox) = (folder(), Inbox::new(mail));
    let made = push(&dir).send(&inbox.hub()).unwrap();
    assert_eq!(made[0].message, "Upload SAE blocks.7.hook_resid_pre");
    assert!(made[0].url.ends_with("/me/saes/commit/1"), "{made:?}");
    let state = inbox.state.lock().unwrap();
    let first = &state.commits[0];
    assert_eq!(first[0]["value"]["summary"], "Upload SAE blocks.7.hook_resid_pre");
    let files = lines(first, "file");
    assert_eq!(files.len(), 1, "{files:?}");
    let config = files["blocks.7.hook_resid_pre/cfg.json"]["content"].as_str().unwrap();
    assert_eq!(STANDARD.decode(config).unwrap(), b"{\"d_in\": 4}");
    let large = lines(first, "lfsFile");
    let weights_line = &large["blocks.7.hook_resid_pre/sae_weights.safetensors"];
    assert_eq!(weights_line["size"], 300_001);
    let oid = weights_line["oid"].as_str().unwrap();
    assert!(state.objects[oid] == weights(), "the contents arrived changed");
    // sha256sum of the same bytes.
    assert_eq!(oid, "bf9a352f4514ab20bc7c79e65d3c2074dc1f0648b55b58d21a7b9c297c1721eb");
    drop(state);
    inbox.state
}

#[test]
fn an_sae_and_a_readme_arrive() {
    let state = check(Mail::default());
    let state = state.lock().unwrap();
    let readme = lines(&state.commits[1], "file");
    let text = STANDARD.decode(readme["README.md"]["content"].as_str().unwrap()).unwrap();
    // As sae_lens 6.54.12 writes it for this repository and SAE.
    let expected = "---\nlibrary_name: saelens\n---\n\n# SAEs for use with the SAELens library\n\n\
        This repository contains the following SAEs:\n- blocks.7.hook_resid_pre\n\nLoad these SAEs \
        using SAELens as below:\n```python\nfrom sae_lens import SAE\n\nsae = SAE.from_pretrained(\
        \"me/saes\", \"<sae_id>\")\n```";
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    assert_eq!(state.log.iter().filter(|line| line.starts_with("PUT")).count(), 1);
}

#[test]
fn large_files_go_in_parts_where_the_hub_wants_parts() {
    let state = check(Mail { chunk_size: Some(100_000), ..Mail::default() });
    let state = state.lock().unwrap();
    assert_eq!(state.log.iter().filter(|line| line.starts_with("PUT")).count(), 4);
}

#[test]
fn a_transfer_that_failed_is_repeated() {
    check(Mail { failures: 1, ..Mail::default() });
}

#[test]
fn a_readme_that_is_there_is_left_alone() {
    let state = check(Mail { exists: true, readme: true, ..Mail::default() });
    assert_eq!(state.lock().unwrap().commits.len(), 1);
}

#[test]
fn what_the_hub_has_is_not_sent_again() {
    let (dir, inbox) = (folder(), Inbox::new(Mail::default()));
    push(&dir).send(&inbox.hub()).unwrap();
    inbox.state.lock().unwrap().log.clear();
    push(&dir).send(&inbox.hub()).unwrap();
    let state = inbox.state.lock().unwrap();
    assert!(!state.log.iter().any(|line| line.starts_with("PUT")), "{:?}", state.log);
    assert_eq!(state.commits.len(), 4);
}

#[test]
fn what_would_be_sent_is_known_without_a_request() {
    let dir = folder();
    let commits = push(&dir).commits().unwrap();
    let sent: Vec<(&str, u64)> =
        commits.iter().flat_map(|c| &c.files).map(|f| (f.path.as_str(), f.size_bytes)).collect();
    assert_eq!(sent[0], ("blocks.7.hook_resid_pre/cfg.json", 11));
    assert_eq!(sent[1], ("blocks.7.hook_resid_pre/sae_weights.safetensors", 300_001));
    assert_eq!(sent[2].0, "README.md");
    assert!(matches!(&commits[1].files[0].content, Content::Text(text) if text.contains(REPO)));
    assert_eq!(push(&dir).readme(false).commits().unwrap().len(), 1);
}

#[test]
fn all_saes_of_a_folder_are_found() {
    let dir = TempDir::new().unwrap();
    sae(&dir.path().join("a/blocks.1.hook_resid_pre"));
    sae(&dir.path().join("b"));
    fs::create_dir(dir.path().join("empty")).unwrap();
    let messages = |push: Push| -> Vec<String> {
        push.readme(false).commits().unwrap().into_iter().map(|c| c.message).collect()
    };
    let all = messages(Push::new(REPO).saes_below(dir.path()).unwrap());
    assert_eq!(all, ["Upload SAE a/blocks.1.hook_resid_pre", "Upload SAE b"]);
    let one = messages(Push::new(REPO).saes_below(&dir.path().join("b")).unwrap());
    assert_eq!(one, ["Upload SAE b"]);
}

#[test]
fn what_cannot_be_published_is_refused_first() {
    let (dir, inbox) = (folder(), Inbox::new(Mail::default()));
    fs::remove_file(dir.path().join("sae/cfg.json")).unwrap();
    let refused = push(&dir).send(&inbox.hub()).unwrap_err();
    assert!(matches!(refused, Error::NoSae { missing: "cfg.json", .. }), "{refused}");
    assert!(matches!(Push::new(REPO).send(&inbox.hub()), Err(Error::NothingToPush { .. })));
    let dir = folder();
    let outside = Push::new(REPO).sae("../x", dir.path().join("sae")).send(&inbox.hub());
    assert!(matches!(outside, Err(Error::Fetch(FetchError::UnsafePath { .. }))));
    let offline = push(&dir).send(&inbox.hub().offline(true));
    assert!(matches!(offline, Err(Error::Fetch(FetchError::Offline { .. }))));
    assert!(matches!(push(&dir).send(&inbox.hub().token("")), Err(Error::NoToken)));
    assert_eq!(inbox.state.lock().unwrap().log.len(), 0);
}

#[test]
fn the_hubs_words_are_passed_on() {
    let (dir, inbox) = (folder(), Inbox::new(Mail::default()));
    let refused = push(&dir).send(&inbox.hub().token("hf_read")).unwrap_err().to_string();
    assert!(refused.contains("status 403") && refused.contains("write access"), "{refused}");
    let inbox = Inbox::new(Mail { failures: 9, chunk_size: Some(1 << 20), ..Mail::default() });
    let refused = push(&dir).send(&inbox.hub()).unwrap_err().to_string();
    assert!(refused.contains("503") && refused.contains("SlowDown"), "{refused}");
    assert!(!refused.contains("secret"), "a signature was printed: {refused}");
    assert_eq!(inbox.state.lock().unwrap().commits.len(), 0);
}
