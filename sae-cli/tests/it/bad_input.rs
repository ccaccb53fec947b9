//! Bad input, as a user would give it: what is wrong is named, and nothing is left behind.

use std::path::Path;

use crate::command::fails;

/// Files that are no good, in a folder of their own.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("empty.jsonl", ""),
        ("short.jsonl", "{\"text\": \"And it came to pass\"}\n"),
        ("words.jsonl", "{\"words\": \"x\"}\n"),
        ("broken.jsonl", "{\"text\": \"x\"}\n{\"text\": \n"),
        ("rows.jsonl", "{\"tokens\": [1, 2, 3]}\n"),
        ("data.csv", "text\nx\n"),
        ("cut.bin", "SAEACTS1 and then nothing"),
        ("config.json", "{"),
    ] {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    std::fs::create_dir(dir.path().join("sae")).unwrap();
    dir
}

/// What is in a folder.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let mut names: Vec<String> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn bad_files_are_named_and_nothing_is_written() {
    let dir = folder();
    let before = names(dir.path());
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let output = path("output");
    for (command, option, file, says) in [
        ("cache", "--dataset", "empty.jsonl", "no row of 256 tokens"),
        ("train", "--dataset", "empty.jsonl", "no row of 256 tokens"),
        ("cache", "--dataset", "short.jsonl", "no row of 256 tokens"),
        ("cache", "--dataset", "words.jsonl", "no column `tokens` or `input_ids` or `text` or"),
        ("cache", "--dataset", "broken.jsonl", "line 2"),
        ("cache", "--dataset", "rows.jsonl", "row 0 of the dataset has 3 tokens"),
        ("cache", "--dataset", "data.csv", "expected .txt, .jsonl or .parquet"),
        ("cache", "--dataset", "nowhere.parquet", "No such file"),
        ("train", "--dataset", "nowhere.parquet", "No such file"),
        ("train", "--cache", "cut.bin", "not a cache of activations, or cut off"),
        ("train", "--cache", "nowhere.bin", "No such file"),
        ("train", "--model", "sae", "sae/config.json: No such file"),
        ("cache", "--hook", "blocks.2.hook_resid_pr", "did you mean `blocks.2.hook_resid_pre`"),
        ("cache", "--hook", "blocks.9.hook_resid_pre", "4 layers"),
        ("cache", "--hook", "blocks.2.attn.hook_pattern", "blocks.2.attn.hook_pattern"),
        ("cache", "--context-size", "5000", "more than the 256 of `demo`"),
        ("cache", "--seqpos-slice", "300:", "leaves none of 256 positions"),
    ] {
        let value = if option.starts_with("--c") && command == "train"
            || option == "--dataset"
            || option == "--model"
        {
            path(file)
        } else {
            file.to_owned()
        };
        // (A row that is too short has no file of its own to name.)
        let named = if file == "rows.jsonl" { "row 0" } else { file };
        fails(&[command, option, &value, "--output", &output], &[says, named]);
        assert_eq!(names(dir.path()), before, "{command} {option} {file}");
    }
    let config = path("config.json");
    fails(&["train", &config, "--output", &output], &["config.json", "not JSON"]);
    fails(&["info", "--sae", &path("sae")], &["files of no known format; looked for cfg.json"]);
    assert_eq!(names(dir.path()), before);
}

#[test]
fn a_missing_file_is_said_to_be_missing_once() {
    let out = crate::command::sae(&["train", "nowhere.json"]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

#[test]
fn a_path_that_is_not_there_is_no_hub_id() {
    for path in
        ["/nowhere/at/all.gguf", "./model.gguf", "../model.gguf", "/nowhere/at", "./nowhere"]
    {
        fails(&["run", "--model", path], &[path, "neither a folder nor a file here"]);
    }
}

#[test]
fn features_positions_and_answers_must_be_there() {
    for (args, says) in [
        (&["stats", "--feature", "3072"][..], "feature 3072"),
        (&["ablate", "--feature", "3072"], "feature 3072"),
        (&["steer", "--feature", "3072"], "feature 3072"),
        (&["pca", "--feature", "3072"], "feature 3072"),
        (&["features", "--position", "11"], "position 11"),
        (&["attribute", "--answer", "Zyzzyva"], "expected exactly one"),
        (&["run", "--answer", " "], "expected at least one word"),
    ] {
        fails(args, &[says]);
    }
}

#[test]
fn neuronpedia_refuses_before_it_calls() {
    for (args, says) in [
        (&["url", "gpt2-small/7-res-jb"][..], "a feature is written `model/sae/index`"),
        (&["url", "gpt2-small/7-res-jb/-1"], "feature index `-1`"),
        (
            &["list", "a/b/1", "--name", "x", "--note", "one", "--note", "two"],
            "2 notes for 1 feature",
        ),
        (&["list", "a/b/1", "--name", "x"], "set NEURONPEDIA_API_KEY"),
        (&["search", "ab"], "at least 3 characters"),
        (
            &["steer", "--feature", "a/b/1", "--prompt", "x", "--temperature", "7"],
            "expected 0 to 2",
        ),
    ] {
        fails(&[&["neuronpedia"], args].concat(), &[says]);
    }
}
