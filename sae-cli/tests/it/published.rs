//! The commands about published SAEs; none of these tests leaves this machine.

use std::path::Path;

use serde_json::Value;

use crate::command::{fails, json, sae};

fn text(args: &[&str]) -> String {
    let out = sae(args);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn list_shows_releases_and_counts_their_saes() {
    let all = text(&["list"]);
    assert!(all.contains("170 releases, 13857 SAEs"), "{all}");
    let gpt2 = text(&["list", "--model", "gpt2-small"]);
    assert!(gpt2.contains("gpt2-small-res-jb"), "{gpt2}");
    assert!(gpt2.contains("jbloom/GPT2-Small-SAEs-Reformatted"), "{gpt2}");
    assert!(!gpt2.contains("gemma"), "{gpt2}");
    let releases = json(&["list", "--model", "gpt2-small"]);
    let of = |name: &str| {
        let mut found = releases.as_array().unwrap().iter().filter(|r| r["release"] == name);
        found.next().unwrap().clone()
    };
    assert_eq!(of("gpt2-small-res-jb")["n_saes"], 13);
    assert_eq!(of("gpt2-small-hook-z-kk")["conversion_func"], "connor_rob_hook_z");
}

#[test]
fn models_shows_names_and_dimensions() {
    let all = json(&["models"]);
    let models = all.as_array().unwrap();
    assert!(models.len() > 180, "{}", models.len());
    let gpt2 = models.iter().find(|m| m["hub_id"] == "openai-community/gpt2").unwrap();
    assert_eq!((&gpt2["n_layers"], &gpt2["d_model"]), (&12.into(), &768.into()));
    assert!(gpt2["aliases"].as_array().unwrap().contains(&"gpt2-small".into()), "{gpt2}");
    let text = text(&["models"]);
    assert!(text.contains("gemma-2-2b") && text.contains("2304"), "{text}");
}

#[test]
fn list_with_filters_shows_saes() {
    let filters =
        ["--model", "gemma-2-2b", "--layer", "12", "--width", "16k", "--hook", "resid_post"];
    let saes = json(&[["list", "--release", "canonical"].as_slice(), &filters].concat());
    assert_eq!(saes.as_array().unwrap().len(), 1);
    assert_eq!(saes[0]["id"], "layer_12/width_16k/canonical");
    assert_eq!(saes[0]["hook_name"], "blocks.12.hook_resid_post");
    assert_eq!(saes[0]["d_sae"], 16384);
    let known = json(&["list", "--neuronpedia", "gpt2-small/7-res-jb"]);
    assert_eq!(known[0]["id"], "blocks.7.hook_resid_pre");
    let sparse = json(&["list", "--model", "gemma-2-2b", "--max-l0", "10"]);
    let l0 = |sae: &Value| sae["l0"].as_f64().unwrap();
    assert!(sparse.as_array().unwrap().iter().all(|sae| l0(sae) <= 10.0));
    fails(&["list", "--width", "wide"], &["16384"]);
}

#[test]
fn show_has_the_tutorials_two_tables() {
    let tables = text(&["show", "gpt2-small-res-jb"]);
    for part in ["gpt2-small", "center_writing_weights", "blocks.11.hook_resid_post", "24576"] {
        assert!(tables.contains(part), "{part} is missing:\n{tables}");
    }
    // What `get_pretrained_saes_directory()["gpt2-small-res-jb"]` holds.
    let release = json(&["show", "gpt2-small-res-jb"]);
    assert_eq!(release["repo_id"], "jbloom/GPT2-Small-SAEs-Reformatted");
    assert_eq!(release["saes_map"]["blocks.7.hook_resid_pre"], "blocks.7.hook_resid_pre");
    assert_eq!(release["neuronpedia_id"]["blocks.7.hook_resid_pre"], "gpt2-small/7-res-jb");
    assert_eq!(release["expected_l0"].as_object().unwrap().len(), 13);
}

#[test]
fn show_knows_one_sae_by_either_spelling() {
    let one = json(&["show", "gpt2-small-res-jb", "blocks.7.hook_resid_pre"]);
    assert_eq!(one, json(&["show", "gpt2-small-res-jb:blocks.7.hook_resid_pre"]));
    assert_eq!(one["model_processing"]["center_writing_weights"], true);
    assert_eq!(one["model_processing_reason"], "stated");
    let table = text(&["show", "gpt2-small-res-jb:blocks.7.hook_resid_pre"]);
    assert!(table.contains("center_writing_weights (stated)"), "{table}");
    fails(&["show", "gpt2-small-resjb"], &["gpt2-small-res-jb"]);
    fails(&["show", "gpt2-small-res-jb:blocks.12.hook_resid_pre"], &["blocks.11.hook_resid_pre"]);
}

#[test]
fn a_newer_catalogue_is_read_where_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pretrained_saes.yaml");
    let yaml = "new-release:\n  repo_id: me/saes\n  model: gpt2-small\n  conversion_func: null\n  \
                saes:\n  - id: blocks.3.hook_resid_pre\n    path: three\n";
    std::fs::write(&file, yaml).unwrap();
    let named = json(&["show", "new-release", "--catalogue", file.to_str().unwrap()]);
    assert_eq!(named["saes_map"]["blocks.3.hook_resid_pre"], "three");
    std::fs::write(&file, yaml.replace("path", "paht")).unwrap();
    fails(&["list", "--catalogue", file.to_str().unwrap()], &["pretrained_saes.yaml", "paht"]);
}

/// The SAE that is built in, as files.
const ASSET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/genesis-4l/sae");

#[test]
fn push_says_what_it_would_send() {
    assert!(Path::new(ASSET).is_dir());
    let commits = json(&["push", ASSET, "me/saes", "--id", "blocks.2.hook_resid_pre", "--dry-run"]);
    let commits = commits.as_array().unwrap();
    assert_eq!(commits[0]["message"], "Upload SAE blocks.2.hook_resid_pre");
    let path = |i: usize| commits[0]["files"][i]["path"].as_str().unwrap();
    assert_eq!(path(0), "blocks.2.hook_resid_pre/cfg.json");
    assert_eq!(path(1), "blocks.2.hook_resid_pre/sae_weights.safetensors");
    assert!(commits[1]["files"][0]["content"].as_str().unwrap().contains("library_name: saelens"));
    let table = text(&["push", ASSET, "me/saes", "--dry-run"]);
    assert!(table.contains("Upload SAE sae") && table.contains("library_name"), "{table}");
    fails(&["push", "no-such-folder", "me/saes", "--dry-run"], &["no-such-folder"]);
}
