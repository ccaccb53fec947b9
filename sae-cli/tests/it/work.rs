//! Long work and analysis: what it writes, and that a kill costs nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command::{fails, json, sae};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn evaluation_says_how_good_the_built_in_sae_is() {
    let found = json(&["eval", "--reconstruction-batches", "1", "--sparsity-batches", "1"]);
    let number = |group: &str, metric: &str| found[group][metric].as_f64().unwrap();
    // Its makers measured 0.946 on another sample.
    assert!((number("reconstruction_quality", "explained_variance") - 0.94).abs() < 0.02);
    assert!((number("sparsity", "l0") - 24.0).abs() < 1e-6);
    assert!(number("model_performance_preservation", "ce_loss_score") > 0.97);
}

#[test]
fn statistics_show_features_in_their_text() {
    let rows = json(&["stats", "--batches", "2", "--feature", "1712", "--contexts", "2"]);
    assert_eq!(rows[0]["feature"], 1712);
    assert_eq!(rows[0]["contexts"].as_array().unwrap().len(), 2);
    assert!(rows[0]["n_active"].as_u64().unwrap() > 100);
    fails(&["stats", "--batches", "1", "--feature", "3072"], &["feature 3072", "0 to 3071"]);
}

#[test]
fn ablation_and_attribution_agree_on_what_matters() {
    let outcomes = json(&["ablate", "--feature", "830"]);
    let logit = |i: usize| outcomes[i]["logit"].as_f64().unwrap();
    // Rows: nothing and 830 without the error term, then with it.
    assert!(logit(1) < logit(0) && logit(3) < logit(2));
    let found = json(&["attribute", "--top", "1"]);
    assert_eq!(found["shares"][0]["feature"], 830);
    assert!(found["shares"][0]["attribution"].as_f64().unwrap() > 0.0);
    fails(&["attribute", "--answer", "Zyzzyva"], &["Zyzzyva", "token"]);
}

#[test]
fn steering_is_the_same_for_the_same_seed_and_needs_a_feature_that_fires() {
    let args = ["steer", "--tokens", "8", "--batches", "2"];
    let (first, second) = (json(&args), json(&args));
    assert_eq!(first, second);
    assert_ne!(first["plain"], first["steered"]);
    // From a cache of the same prompts the measure is the same.
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("acts");
    let made = ["cache", "--context-size", "128", "--tokens", "4064", "--output", text(&cache)];
    json(&made);
    let cached = json(&[&args[..], &["--cache", text(&cache)]].concat());
    assert_eq!(cached["max_activation"], first["max_activation"]);
    fails(&["steer", "--feature", "99999"], &["99999", "3072"]);
}

#[test]
fn training_reads_what_caching_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, output) = (dir.path().join("acts"), dir.path().join("sae"));
    let written = json(&["cache", "--tokens", "12000", "--output", text(&cache)]);
    assert_eq!(written["rows"], 12000);
    let args = ["train", "--cache", text(&cache), "--tokens", "120000", "--output", text(&output)];
    let trained = json(&args);
    assert_eq!((&trained["d_sae"], &trained["architecture"]), (&1536.into(), &"topk".into()));
    let info = json(&["info", "--sae", text(&output)]);
    assert_eq!(info["hook_name"], "blocks.2.hook_resid_pre");
    let metrics = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    assert!(metrics.lines().count() >= 4 && metrics.contains("losses/mse_loss"), "{metrics}");
    fails(&["cache", "--tokens", "10", "--output", text(&cache)], &["is there already"]);
}

/// Start, kill without warning as soon as `begun`, and run to the end; `done` must not be there before.
fn killed(args: &[&str], begun: impl Fn() -> bool, done: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sae"));
    let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    while !begun() {
        assert!(start.elapsed() < Duration::from_secs(120), "{args:?}: nothing to interrupt");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!done.exists(), "{args:?}: was done before it was killed");
    let out = sae(args);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && done.exists(), "{said}");
}

#[test]
fn a_kill_while_caching_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (whole, cut) = (path("whole"), path("cut"));
    let args = |output: &Path| -> Vec<String> {
        ["cache", "--tokens", "40000", "--output", text(output)].map(str::to_owned).to_vec()
    };
    let (a, b) = (args(&whole), args(&cut));
    json(&a.iter().map(String::as_str).collect::<Vec<_>>());
    // A batch of prompts is safely written, more are to come.
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    let begun = || size(&path("cut.partial")) > size(&whole) / 20;
    killed(&b.iter().map(String::as_str).collect::<Vec<_>>(), begun, &cut);
    assert!(std::fs::read(&whole).unwrap() == std::fs::read(&cut).unwrap());
}

/// Train twice, once with a kill after the checkpoint, and compare what is written.
fn kill_training(more: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (a, b) = (path("a"), path("b"));
    let args = |output: &Path| -> Vec<String> {
        let fixed = ["train", "--output", text(output)];
        fixed.iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    let (whole, cut) = (args(&a), args(&b));
    json(&whole.iter().map(String::as_str).collect::<Vec<_>>());
    let begun = || {
        let checkpoints = std::fs::read_dir(b.join("checkpoints"));
        // (One that is being written has another name.)
        let mut names = checkpoints.into_iter().flatten().filter_map(Result::ok);
        names.any(|entry| entry.file_name().to_str().is_some_and(|n| n.parse::<u64>().is_ok()))
    };
    let weights = b.join("sae_weights.safetensors");
    killed(&cut.iter().map(String::as_str).collect::<Vec<_>>(), begun, &weights);
    let files = ["sae_weights.safetensors", "sparsity.safetensors", "cfg.json", "metrics.jsonl"];
    for file in files {
        let bytes = |run: &Path| std::fs::read(run.join(file)).unwrap();
        assert!(bytes(&a) == bytes(&b), "{file}");
    }
}

#[test]
fn a_kill_while_training_on_a_cache_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("acts");
    json(&["cache", "--tokens", "20000", "--output", text(&cache)]);
    kill_training(&["--cache", text(&cache), "--tokens", "110000"]);
}

#[test]
fn a_kill_while_training_on_the_running_model_changes_no_byte() {
    kill_training(&["--tokens", "110000"]);
}

#[test]
fn a_cache_of_something_else_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, output) = (dir.path().join("acts"), dir.path().join("sae"));
    json(&["cache", "--tokens", "500", "--context-size", "64", "--output", text(&cache)]);
    let train = ["train", "--cache", text(&cache), "--output", text(&output)];
    fails(&train, &["acts", "64 tokens", "`context_size` wants 256"]);
    let config = dir.path().join("other.json");
    let wants = r#"{"sae": {"architecture": "topk", "d_in": 192, "d_sae": 64, "k": 4},
        "model_name": "gpt2", "hook_name": "blocks.2.hook_resid_pre", "context_size": 64}"#;
    std::fs::write(&config, wants).unwrap();
    let with = [&train[..1], &[text(&config)], &train[1..]].concat();
    fails(&with, &["`demo processed:true`", "`gpt2 processed:true`", "model_name"]);
    std::fs::write(&config, wants.replace("gpt2", "demo").replace("blocks.2", "blocks.1")).unwrap();
    fails(&with, &["blocks.2.hook_resid_pre", "blocks.1.hook_resid_pre"]);
    assert!(!output.exists());
}

#[test]
fn a_cache_goes_on_with_other_numbers_of_prompts_and_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let (whole, cut) = (dir.path().join("whole"), dir.path().join("cut"));
    let cache = |output: &Path, tokens: &str, prompts: &str| {
        let args = ["--tokens", tokens, "--context-size", "64", "--batch-prompts", prompts];
        let args = [&["cache", "--output", text(output)], &args[..]].concat();
        json(&args);
    };
    cache(&whole, "1500", "5");
    cache(&cut, "700", "4");
    // As a kill would have left it.
    std::fs::rename(&cut, dir.path().join("cut.partial")).unwrap();
    fails(
        &["cache", "--output", text(&cut), "--tokens", "600", "--context-size", "64"],
        &["700 rows are written already"],
    );
    cache(&cut, "1500", "3");
    assert!(std::fs::read(&whole).unwrap() == std::fs::read(&cut).unwrap());
    // Rows made otherwise are not mixed in.
    std::fs::rename(&cut, dir.path().join("cut.partial")).unwrap();
    let other = ["cache", "--output", text(&cut), "--tokens", "2000", "--context-size", "64"];
    for more in [&["--no-bos"][..], &["--seqpos-slice", "1:"], &["--exclude-token", "5"]] {
        fails(&[&other[..], more].concat(), &["was begun for"]);
    }
}
