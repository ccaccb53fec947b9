//! What `sae` prints, and how it fails.

use std::process::{Command, Output};

use serde_json::Value;

pub(crate) fn sae(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sae"));
    command
        .args(args)
        .env("HF_HUB_OFFLINE", "1")
        .env_remove("NEURONPEDIA_API_KEY")
        .output()
        .unwrap()
}

pub(crate) fn json(args: &[&str]) -> Value {
    let out = sae(&[args, &["--json"]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

pub(crate) fn fails(args: &[&str], says: &[&str]) {
    let out = sae(args);
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success(), "{args:?} must fail");
    for text in says {
        assert!(stderr.contains(text), "{args:?}: {stderr:?} does not say {text:?}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Reference values made by SAELens and TransformerLens; see assets/README.md.
#[test]
fn the_demo_gives_the_numbers_of_the_reference_libraries() {
    let demo = json(&["demo"]);
    let answer = |run: &str| &demo["run"][run]["steps"][0]["answers"][0];
    for (run, prob) in [("plain", 0.3385), ("with_sae", 0.3336), ("with_error_term", 0.3385)] {
        assert_eq!(answer(run)["str"], " earth");
        assert_eq!(answer(run)["rank"], 0, "{run}");
        let got = answer(run)["prob"].as_f64().unwrap();
        assert!((got - prob).abs() < 5e-5, "{run}: {got}, expected {prob}");
    }
    let strongest = [(1712, 7.9030), (2439, 7.8689), (2121, 3.0254), (830, 2.6566), (2613, 2.3452)];
    for (found, (feature, activation)) in demo["features"].as_array().unwrap().iter().zip(strongest)
    {
        assert_eq!(found["feature"], feature);
        let got = found["activation"].as_f64().unwrap();
        assert!((got - activation).abs() < 5e-5, "{feature}: {got}, expected {activation}");
    }
}

#[test]
fn the_demo_reads_as_a_story() {
    let out = sae(&["demo"]);
    let text = String::from_utf8(out.stdout).unwrap();
    for expected in ["\" earth\"", "33.85 %", "33.36 %", "blocks.2.hook_resid_pre", "1712"] {
        assert!(text.contains(expected), "the demo must show {expected}:\n{text}");
    }
}

#[test]
fn info_shows_the_configuration() {
    let info = json(&["info"]);
    assert_eq!(info["architecture"], "topk");
    assert_eq!(
        (&info["d_in"], &info["d_sae"], &info["k"]),
        (&192.into(), &3072.into(), &24.into())
    );
    assert_eq!(info["hook_name"], "blocks.2.hook_resid_pre");
}

#[test]
fn run_compares_several_answers() {
    let run = json(&["run", "--answer", "earth", "--answer", "sea", "--top", "3"]);
    let answers = run["plain"]["steps"][0]["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[1]["str"], " sea");
    assert_eq!(run["plain"]["steps"][0]["top"].as_array().unwrap().len(), 3);
}

#[test]
fn features_at_another_position() {
    let features = json(&["features", "--prompt", "The lamb", "--position", "1", "--top", "2"]);
    let features = features.as_array().unwrap();
    assert_eq!(features.len(), 2);
    assert!(features[0]["activation"].as_f64() >= features[1]["activation"].as_f64());
}

#[test]
fn mistakes_are_answered_with_what_would_be_right() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().to_str().unwrap();
    fails(&["info", "--sae", empty], &["cfg.json", empty]);
    fails(&["run", "--model", "no-such-folder"], &["no-such-folder"]);
    fails(&["info", "--sae", "owner/repo/path"], &["owner/repo", "offline"]);
    fails(&["features", "--position", "99"], &["position 99", "11 positions"]);
    fails(&["run", "--prompt", &"word ".repeat(400)], &["256"]);
    fails(&["frobnicate"], &["frobnicate"]);
}

#[test]
fn addresses_on_neuronpedia_need_no_network() {
    let urls = json(&["neuronpedia", "url", "gpt2-small/7-res-jb/123"]);
    assert_eq!(urls["dashboard"], "https://neuronpedia.org/gpt2-small/7-res-jb/123");
    let list =
        json(&["neuronpedia", "quick-list", "gpt2-small/7-res-jb/1", "gpt2-small/7-res-jb/2"]);
    assert!(list["url"].as_str().unwrap().contains("quick-list/?name=temporary_list"));
    fails(&["neuronpedia", "url", "gpt2-small/123"], &["model/sae/index"]);
}
