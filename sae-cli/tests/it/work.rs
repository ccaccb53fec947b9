//! Long work and analysis: what it writes, and that a kill costs nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

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

/// Start, kill without warning after `millis`, and run to the end.
fn killed(args: &[&str], millis: u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sae"));
    let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(millis));
    // (It may be done already; then there is nothing to kill.)
    let _ = child.kill();
    child.wait().unwrap();
    let out = sae(args);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_kill_while_caching_or_training_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let whole = path("whole");
    json(&["cache", "--tokens", "30000", "--output", text(&whole)]);
    let cut = path("cut");
    killed(&["cache", "--tokens", "30000", "--output", text(&cut)], 400);
    assert_eq!(std::fs::read(&whole).unwrap(), std::fs::read(&cut).unwrap());

    let train = |output: &Path| -> Vec<String> {
        ["train", "--cache", text(&whole), "--tokens", "110000", "--output", text(output)]
            .map(str::to_owned)
            .to_vec()
    };
    let (a, b) = (train(&path("a")), train(&path("b")));
    json(&a.iter().map(String::as_str).collect::<Vec<_>>());
    killed(&b.iter().map(String::as_str).collect::<Vec<_>>(), 1500);
    for file in ["sae_weights.safetensors", "sparsity.safetensors", "cfg.json"] {
        let bytes = |run: &str| std::fs::read(path(run).join(file)).unwrap();
        assert_eq!(bytes("a"), bytes("b"), "{file}");
    }
}
