//! A model or an SAE arrives as one folder.

use std::fs;

use sae_registry::{
    Error, Fetch, FetchError, RemoteFile, gguf_file, model_files, sae_files, tokenizer_files,
};

use crate::server::{FIRST_COMMIT, Kind, REPO, SECOND_COMMIT, Server};

const SMALL: Kind = Kind::Relative(307);
const LARGE: Kind = Kind::Large(302);
const INDEX: &str = "model.safetensors.index.json";

/// Fetches the model and compares the names of all files and of those with weights.
fn check_model(server: &Server, files: &[&str], weights: &[&str]) {
    let model = model_files(&server.hub(), REPO, "main").unwrap();
    assert_eq!(model.files, files);
    assert_eq!(model.weights, weights);
    assert!(model.dir.ends_with(FIRST_COMMIT), "{:?}", model.dir);
    for name in files {
        assert!(model.dir.join(name).is_file(), "{name}");
    }
}

#[test]
fn a_model_of_one_file() {
    let server = Server::new()
        .put("config.json", SMALL, b"{}")
        .put("tokenizer.json", LARGE, b"{\"model\":1}")
        .put("special_tokens_map.json", SMALL, b"{\"bos\":1}")
        .put("model.safetensors", LARGE, b"weights");
    let files = ["config.json", "tokenizer.json", "special_tokens_map.json", "model.safetensors"];
    check_model(&server, &files, &["model.safetensors"]);
}

#[test]
fn a_model_of_shards() {
    let index = br#"{"metadata":{"total_size":9},"weight_map":{"c":"s-2.safetensors",
        "a":"s-1.safetensors","b":"s-2.safetensors","d":"more/s-3.safetensors"}}"#;
    let server = Server::new()
        .put("config.json", SMALL, b"{}")
        .put(INDEX, SMALL, index)
        .put("s-1.safetensors", LARGE, b"1")
        .put("s-2.safetensors", LARGE, b"2")
        .put("more/s-3.safetensors", LARGE, b"3");
    let weights = ["more/s-3.safetensors", "s-1.safetensors", "s-2.safetensors"];
    let files = [&["config.json", INDEX], &weights[..]].concat();
    check_model(&server, &files, &weights);
}

#[test]
fn a_model_of_torch_where_there_is_no_other() {
    const BIN: &str = "pytorch_model.bin";
    let server = Server::new().put("config.json", SMALL, b"{}").put(BIN, LARGE, b"weights");
    check_model(&server, &["config.json", BIN], &[BIN]);
    let server = server.put("model.safetensors", LARGE, b"weights");
    check_model(&server, &["config.json", "model.safetensors"], &["model.safetensors"]);

    const BIN_INDEX: &str = "pytorch_model.bin.index.json";
    let index = br#"{"weight_map":{"a":"p-1.bin","b":"p-2.bin"}}"#;
    let server = Server::new()
        .put("config.json", SMALL, b"{}")
        .put(BIN_INDEX, SMALL, index)
        .put("p-1.bin", LARGE, b"1")
        .put("p-2.bin", LARGE, b"2");
    check_model(
        &server,
        &["config.json", BIN_INDEX, "p-1.bin", "p-2.bin"],
        &["p-1.bin", "p-2.bin"],
    );
}

#[test]
fn a_model_of_transformer_lens_has_its_tokenizer_elsewhere() {
    let server =
        Server::new().put("config.json", SMALL, b"{}").put("model_final.pth", LARGE, b"state dict");
    check_model(&server, &["config.json", "model_final.pth"], &["model_final.pth"]);

    let Err(Error::Fetch(FetchError::NotFound { path, .. })) =
        tokenizer_files(&server.hub(), REPO, "main")
    else {
        panic!("an absent tokenizer went unnoticed")
    };
    assert_eq!(path, "tokenizer.json");
    server.add("tokenizer.json", LARGE, b"{\"model\":1}");
    server.add("tokenizer_config.json", SMALL, b"{}");
    let tokenizer = tokenizer_files(&server.hub(), REPO, "main").unwrap();
    assert_eq!(tokenizer.files, ["tokenizer.json", "tokenizer_config.json"]);
    assert_eq!(tokenizer.weights, [""; 0]);
}

#[test]
fn a_gguf_file_is_a_model_by_itself() {
    const FILE: &str = "quantised/model.Q4_1.gguf";
    let server = Server::new().put(FILE, LARGE, b"GGUF");
    let path = gguf_file(&server.hub(), REPO, FILE, "main").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"GGUF");
    assert!(path.ends_with(FILE), "{path:?}");
    let Err(Error::Fetch(FetchError::NotFound { path, .. })) =
        gguf_file(&server.hub(), REPO, "other.gguf", "main")
    else {
        panic!("an absent file went unnoticed")
    };
    assert_eq!(path, "other.gguf");
}

#[test]
fn a_shard_that_is_absent_is_an_error() {
    let server = Server::new().put("config.json", SMALL, b"{}").put(
        INDEX,
        SMALL,
        br#"{"weight_map":{"a":"s-1.safetensors"}}"#,
    );
    let Err(Error::Fetch(FetchError::NotFound { path, .. })) =
        model_files(&server.hub(), REPO, "main")
    else {
        panic!("an absent shard went unnoticed")
    };
    assert_eq!(path, "s-1.safetensors");
}

/// A repository with this shard index fails with this message.
fn check_index(index: &[u8], want: &str) {
    let server = Server::new().put("config.json", SMALL, b"{}").put(INDEX, SMALL, index);
    let error = model_files(&server.hub(), REPO, "main").unwrap_err().to_string();
    assert!(error.ends_with(want), "{error}");
}

#[test]
fn a_bad_index_is_an_error() {
    check_index(b"[", "index.json: not a safetensors index");
    check_index(br#"{"metadata":{}}"#, "index.json: not a safetensors index");
    check_index(
        br#"{"weight_map":{}}"#,
        "index.json: `weight_map` is empty, expected at least one shard",
    );
    check_index(
        br#"{"weight_map":{"a":"../../../.ssh/key"}}"#,
        "`../../../.ssh/key`: names must be relative paths of plain parts, without `..`",
    );
}

#[test]
fn without_weights_the_usual_file_is_named() {
    let server = Server::new().put("config.json", SMALL, b"{}");
    let error = model_files(&server.hub(), REPO, "main").unwrap_err();
    let Error::Fetch(FetchError::NotFound { path, .. }) = error else { panic!("{error:?}") };
    assert_eq!(path, "model.safetensors");
}

#[test]
fn a_failing_server_is_not_an_absent_tokenizer() {
    let server =
        Server::new().put("config.json", SMALL, b"{}").put("model.safetensors", LARGE, b"weights");
    server.hub().get(&RemoteFile::new(REPO, "config.json")).unwrap();
    server.down(Some(503));
    let error = model_files(&server.hub(), REPO, "main").unwrap_err();
    assert!(matches!(error, Error::Fetch(FetchError::Server { .. })), "{error:?}");
}

#[test]
fn an_sae_is_a_folder_of_a_repository() {
    for (folder, prefix) in [("blocks.7.hook_resid_pre", "blocks.7.hook_resid_pre/"), ("", "")] {
        let server = Server::new().put(&format!("{prefix}cfg.json"), SMALL, b"{}").put(
            &format!("{prefix}sae_weights.safetensors"),
            LARGE,
            b"weights",
        );
        let sae = sae_files(&server.hub(), REPO, folder, "main").unwrap();
        assert_eq!(sae.files, ["cfg.json", "sae_weights.safetensors"]);
        assert_eq!(sae.weights, ["sae_weights.safetensors"]);
        assert!(sae.dir.join("cfg.json").is_file());

        server.add(&format!("{prefix}sparsity.safetensors"), LARGE, b"sparsity");
        let sae = sae_files(&server.hub(), REPO, folder, "main").unwrap();
        assert_eq!(sae.files[2], "sparsity.safetensors");
    }
}

#[test]
fn a_branch_that_moves_between_two_files_is_fetched_at_one_commit() {
    let server = Server::new().put("cfg.json", SMALL, b"{\"old\":1}").put(
        "sae_weights.safetensors",
        LARGE,
        b"old",
    );
    server.hub().get(&RemoteFile::new(REPO, "cfg.json")).unwrap();
    server.move_main(SECOND_COMMIT);
    server.add("cfg.json", SMALL, b"{\"new\":1}");
    server.add("sae_weights.safetensors", LARGE, b"new");

    let sae = sae_files(&server.hub(), REPO, "", "main").unwrap();
    assert!(sae.dir.ends_with(SECOND_COMMIT), "{:?}", sae.dir);
    assert_eq!(fs::read(sae.dir.join("cfg.json")).unwrap(), b"{\"new\":1}");
    assert_eq!(fs::read(sae.dir.join("sae_weights.safetensors")).unwrap(), b"new");
}
