//! Models and SAEs by name, fetched by the command from a server that speaks the hub's protocol.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

#[allow(dead_code)] // the registry's tests use the rest
#[path = "../../../sae-registry/tests/it/server.rs"]
mod server;
use server::{Kind, REPO, Server, transfers};

use crate::command::json;

const LARGE: Kind = Kind::Large(302);
const SMALL: Kind = Kind::Relative(307);
const WEIGHTS: &str = "sae/sae_weights.safetensors";

fn asset(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/genesis-4l").join(name);
    std::fs::read(path).unwrap()
}

/// A hub with the built-in model and SAE, and a catalogue that lists the latter as `tiny:layer_2`.
fn hub() -> Server {
    let server = Server::new();
    for (name, kind) in [
        ("sae/cfg.json", SMALL),
        (WEIGHTS, LARGE),
        ("model/config.json", SMALL),
        ("model/model.safetensors", LARGE),
        ("model/tokenizer.json", LARGE),
        ("model/tokenizer_config.json", SMALL),
        ("model/special_tokens_map.json", SMALL),
    ] {
        // The SAE lies in a folder of the repository, the model at its root.
        server.add(name.strip_prefix("model/").unwrap_or(name), kind, &asset(name));
    }
    let catalogue = format!(
        "tiny:\n  repo_id: {REPO}\n  model: {REPO}\n  saes:\n  - id: layer_2\n    path: sae\n    l0: 24\n"
    );
    std::fs::write(server.cache.path().join("saes.yaml"), catalogue).unwrap();
    server
}

/// `program args`, with this hub and this cache.
fn run(server: &Server, program: &str, args: &[&str]) -> Output {
    let cache = server.cache.path();
    Command::new(program)
        .args(args)
        .env("HF_ENDPOINT", &server.address)
        .env("HF_HUB_CACHE", cache.join("hub"))
        .env("SAE_CATALOGUE", cache.join("saes.yaml"))
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_TOKEN")
        .output()
        .unwrap()
}

const SAE: &str = env!("CARGO_BIN_EXE_sae");

fn answer(out: &Output) -> Value {
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn an_sae_and_its_model_by_name_give_what_the_files_give() {
    let server = hub();
    let there = ["features", "--sae", "tiny:layer_2", "--json"];
    let fetched = answer(&run(&server, SAE, &there));
    // What a catalogue lists is for weights as published, unless it says otherwise.
    let here = json(&["features", "--no-processing"]);
    assert_eq!(fetched, here);
    let log = server.take_log();
    assert!(transfers(&log).len() >= 3, "weights and tokenizer were transferred: {log:?}");
    // A second time nothing is transferred.
    assert_eq!(answer(&run(&server, SAE, &there)), here);
    assert_eq!(transfers(&server.take_log()), [""; 0]);
    // And without the server.
    server.down(Some(503));
    assert_eq!(
        answer(&run(&server, "env", &[&["HF_HUB_OFFLINE=1", SAE], &there[..]].concat())),
        here
    );
}

#[test]
fn pull_says_which_files_came() {
    let server = hub();
    let pulled = answer(&run(&server, SAE, &["pull", "tiny", "layer_2", "--json"]));
    let files = pulled["files"].as_array().unwrap();
    assert_eq!(files.len(), 2, "{pulled}");
    for file in files {
        assert!(Path::new(file.as_str().unwrap()).is_file(), "{file}");
    }
}

#[cfg(unix)]
#[test]
fn a_disk_that_takes_no_more_leaves_no_file_that_looks_whole() {
    let server = hub();
    // No file may exceed 200 blocks: writing fails as on a disk that is full.
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" pull tiny layer_2 --json";
    let out = run(&server, "sh", &["-c", script, SAE]);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success(), "{stderr}");
    assert!(stderr.contains("sae_weights.safetensors"), "{stderr}");
    assert!(stderr.contains("too large"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let offline = [&["HF_HUB_OFFLINE=1", SAE][..], &["pull", "tiny", "layer_2"]].concat();
    let out = run(&server, "env", &offline);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && stderr.contains("sae_weights.safetensors"), "{stderr}");
    // Once there is room, the same command ends well.
    answer(&run(&server, SAE, &["pull", "tiny", "layer_2", "--json"]));
}
