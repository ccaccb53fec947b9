//! `sae convert`, and SAEs of other formats wherever one is named.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::{fails, json, sae};

/// A published format in small, of the suites that travel with the project.
fn sample(path: &str) -> String {
    let suites = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/parity/suites/core/saes");
    suites.join(path).display().to_string()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Convert, and what `sae info` says of the result.
fn converted(args: &[&str], output: &Path) -> Value {
    let told = json(&[&["convert"], args, &[text(output)]].concat());
    assert_eq!(told["output"], text(output));
    assert!(output.join("sae_weights.safetensors").is_file());
    json(&["info", "--sae", text(output)])
}

#[test]
fn formats_are_told_by_their_files_and_become_sae_lens_folders() {
    let dir = tempfile::tempdir().unwrap();
    for (i, (path, architecture)) in [
        ("sae-load-sae-lens-v5-topk", "topk"),
        ("sae-load-dictionary-learning-gatedautoencoder", "gated"),
        ("sae-load-openai-v5-topk/resid_post_mlp_v5_32k/autoencoders/6.pt", "topk"),
    ]
    .into_iter()
    .enumerate()
    {
        let (path, output) = (deepest(&sample(path)), dir.path().join(i.to_string()));
        let info = converted(&[text(&path)], &output);
        assert_eq!(info["architecture"], architecture, "{}", path.display());
        let before = json(&["info", "--sae", text(&path)]);
        for field in ["architecture", "d_in", "d_sae", "hook_name", "k"] {
            assert_eq!(info[field], before[field], "{}: {field}", path.display());
        }
        // Converted again, nothing changes any more.
        let again = dir.path().join(format!("{i}-again"));
        converted(&[text(&output)], &again);
        let bytes = |dir: &Path| std::fs::read(dir.join("sae_weights.safetensors")).unwrap();
        assert!(bytes(&output) == bytes(&again), "{}", path.display());
    }
}

/// The folder below, as far as there is but one way; files stay what they are.
fn deepest(path: &str) -> PathBuf {
    let mut path = PathBuf::from(path);
    assert!(path.exists(), "{}", path.display());
    while path.is_dir() {
        let entries: Vec<PathBuf> = path.read_dir().unwrap().map(|e| e.unwrap().path()).collect();
        match &entries[..] {
            [only] if only.is_dir() => path = only.clone(),
            _ => break,
        }
    }
    path
}

#[test]
fn what_the_files_do_not_tell_can_be_told() {
    let dir = tempfile::tempdir().unwrap();
    // The names of the folders tell model, layer and width; these tiny files have other dimensions.
    let source = dir.path().join("gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71");
    std::fs::create_dir_all(&source).unwrap();
    let params = sample("sae-load-gemma-2-res/layer_20/width_16k/average_l0_71/params.npz");
    std::fs::copy(params, source.join("params.npz")).unwrap();
    let output = dir.path().join("out");
    let args = [text(&source), "--format", "gemma_2", "--set", "d_in=16", "--set", "d_sae=48"];
    let info = converted(&args, &output);
    assert_eq!(info["architecture"], "jumprelu");
    assert_eq!(info["hook_name"], "blocks.20.hook_resid_post");
    fails(&["convert", text(&source), text(&output)], &["out", "nothing is written over"]);
}

#[test]
fn the_demo_stays_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("demo");
    converted(&["demo"], &output);
    let plain = json(&["features", "--prompt", "The lamb and the wolf"]);
    let again = json(&["features", "--sae", text(&output), "--prompt", "The lamb and the wolf"]);
    assert_eq!(plain, again);
}

#[test]
fn what_is_no_sae_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, output) = (dir.path().join("empty"), dir.path().join("out"));
    std::fs::create_dir(&empty).unwrap();
    fails(&["convert", text(&empty), text(&output)], &["empty"]);
    fails(&["convert", "demo", text(&output), "--format", "gemma_9"], &["gemma_9", "gemma_2"]);
    fails(&["convert", "gpt2-small-res-jb", text(&output)], &["gpt2-small-res-jb:ID"]);
    assert!(!output.exists() && dir.path().read_dir().unwrap().count() == 1);
}

#[test]
fn published_saes_are_named_by_release_and_id() {
    // Offline, and not in the cache: the error shows which repository and file were meant.
    let dir = tempfile::tempdir().unwrap();
    let offline = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sae"));
        let out = command
            .args(args)
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", dir.path())
            .output()
            .unwrap();
        assert!(!out.status.success());
        String::from_utf8(out.stderr).unwrap()
    };
    let id = "blocks.7.hook_resid_pre";
    for args in [
        vec!["pull", "gpt2-small-res-jb", id],
        vec!["info", "--sae", "gpt2-small-res-jb:blocks.7.hook_resid_pre"],
        vec!["info", "--sae", "jbloom/GPT2-Small-SAEs-Reformatted/blocks.7.hook_resid_pre"],
    ] {
        let says = offline(&args);
        assert!(says.contains("jbloom/GPT2-Small-SAEs-Reformatted"), "{args:?}: {says}");
        assert!(says.contains("offline"), "{args:?}: {says}");
    }
    // The release says which model is meant, and how it is to be loaded.
    let says = offline(&["features", "--sae", "gpt2-small-res-jb:blocks.7.hook_resid_pre"]);
    assert!(says.contains("gpt2-small-res-jb was trained on gpt2-small"), "{says}");
    assert!(says.contains("openai-community/gpt2"), "{says}");
    let other = "gpt2-small-res-jb:blocks.7.hook_resid_pre";
    let says = offline(&["features", "--sae", other, "--model", "pythia-70m"]);
    assert!(says.contains("warning") && says.contains("pythia-70m"), "{says}");
    fails(&["pull", "gpt2-small-res-jb", "blocks.7.hook_resid_per"], &[id]);
}

#[test]
fn told_fields_are_json_or_text() {
    let dir = tempfile::tempdir().unwrap();
    let out = sae(&["convert", "demo", text(&dir.path().join("x")), "--set", "nonsense"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("FIELD=VALUE"));
}

#[test]
fn tanh_relu_is_kept_and_what_others_make_of_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    std::fs::create_dir(&from).unwrap();
    let cfg = r#"{"d_in": 192, "d_sae": 3072, "activation_fn_str": "tanh-relu",
        "hook_name": "blocks.2.hook_resid_pre", "context_size": 256}"#;
    std::fs::write(from.join("cfg.json"), cfg).unwrap();
    let weights = "assets/genesis-4l/sae/sae_weights.safetensors";
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join(weights);
    std::fs::copy(weights, from.join("sae_weights.safetensors")).unwrap();
    let out = sae(&["convert", text(&from), text(&to)]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("SAELens 6 reads them as ReLU"), "{said}");
    let features = |sae: &Path| json(&["features", "--model", "demo", "--sae", text(sae)]);
    assert_eq!(features(&from), features(&to));
    let largest = features(&to)[0]["activation"].as_f64().unwrap();
    assert!((0.9..=1.0).contains(&largest), "a tanh: {largest}");
}
