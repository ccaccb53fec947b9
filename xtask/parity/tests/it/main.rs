//! The runner as a process, on suites made here.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn case(suite: &Path, kind: &str, name: &str, json: &str) {
    let dir = suite.join("cases").join(kind).join(name);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("case.json"), json).unwrap();
}

fn parity(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_parity")).args(args).output().unwrap()
}

#[test]
fn an_unknown_kind_is_a_failure_and_says_so() {
    let suite = tempfile::tempdir().unwrap();
    case(
        suite.path(),
        "novel",
        "one",
        r#"{"format":1,"kind":"novel","case":"one","params":{},"expect":{}}"#,
    );
    let out = parity(&[suite.path().to_str().unwrap()]);
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(!out.status.success());
    assert!(
        text.contains("FAIL novel/one") && text.contains("kind `novel` is not built"),
        "{text}"
    );
    assert!(text.ends_with("0 passed, 1 failed\n"), "{text}");
}

#[test]
fn an_output_that_is_not_computed_is_a_failure() {
    let suite = tempfile::tempdir().unwrap();
    let json = r#"{"format":1,"kind":"tokenizer","case":"one","model":"models/none","params":{"n_ctx":4,"calls":[]},"expect":{"x":{"tol":1}}}"#;
    case(suite.path(), "tokenizer", "one", json);
    let report = suite.path().join("report.json");
    let out = parity(&[suite.path().to_str().unwrap(), "--json", report.to_str().unwrap()]);
    assert!(!out.status.success());
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    assert_eq!(report[0]["passed"], false);
}

#[test]
fn nothing_to_run_is_an_error() {
    let suite = tempfile::tempdir().unwrap();
    fs::create_dir_all(suite.path().join("cases")).unwrap();
    assert!(!parity(&[suite.path().to_str().unwrap()]).status.success());
    assert!(!parity(&[]).status.success());
}
