//! The catalogue: all of it, entry by entry, and what it answers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sae_core::fetch::{Fetch, FetchError, RemoteFile};
use sae_core::hook::{HookName, Place, Site};
use sae_registry::{Catalogue, Error, ModelProcessing, Options, Query, Reason, from_pretrained};

/// The text that is built in.
const TEXT: &str = include_str!("../../data/catalogue.txt");
/// Bytes that it may take in the binary.
const MOST_BYTES: usize = 400_000;

/// Models and their layers, by the end of the model's name (`config.json` of each on the hub).
const LAYERS: [(&str, u16); 38] = [
    ("gpt2-small", 12),
    ("gemma-2b", 18),
    ("gemma-2b-it", 18),
    ("gemma-2-2b", 26),
    ("gemma-2-9b", 42),
    ("gemma-2-9b-it", 42),
    ("gemma-2-27b", 46),
    ("gemma-3-270m", 18),
    ("gemma-3-270m-it", 18),
    ("gemma-3-1b-pt", 26),
    ("gemma-3-1b-it", 26),
    ("gemma-3-4b-pt", 34),
    ("gemma-3-4b-it", 34),
    ("gemma-3-12b-pt", 48),
    ("gemma-3-12b-it", 48),
    ("gemma-3-27b-pt", 62),
    ("gemma-3-27b-it", 62),
    ("pythia-70m-deduped", 6),
    ("mistral-7b", 32),
    ("Meta-Llama-3-8B-Instruct", 32),
    ("Llama-3.1-8B", 32),
    ("Llama-3.1-8B-Instruct", 32),
    ("Llama-3.3-70B-Instruct", 80),
    ("DeepSeek-R1-Distill-Llama-8B", 32),
    ("gpt-oss-20b", 24),
    ("Qwen2.5-7B-Instruct", 28),
    ("qwen3-0.6b", 28),
    ("qwen3-1.7b", 28),
    ("qwen3-4b", 36),
    ("qwen3-8b", 36),
    ("qwen3-14b", 40),
    ("Qwen3-1.7B-Base", 28),
    ("Qwen3-8B-Base", 36),
    ("Qwen3-30B-A3B-Base", 48),
    ("Qwen3.5-2B-Base", 24),
    ("Qwen3.5-9B-Base", 32),
    ("Qwen3.5-27B", 64),
    ("Qwen3.5-35B-A3B-Base", 40),
];

/// Places that the published SAEs read and that a model of any of these families has.
const SITES: [Site; 8] = [
    Site::ResidPre,
    Site::ResidMid,
    Site::ResidPost,
    Site::Z,
    Site::AttnOut,
    Site::MlpOut,
    Site::Ln2Normalized,
    Site::MlpHookIn,
];

fn embedded() -> Catalogue {
    Catalogue::embedded().unwrap()
}

#[test]
fn all_of_sae_lens_6_54_12_is_there() {
    let catalogue = embedded();
    assert_eq!(catalogue.releases().len(), 170);
    let counted: usize = catalogue.releases().iter().map(|r| r.n_saes).sum();
    assert_eq!(counted, 13_857);
    for release in catalogue.releases() {
        assert_eq!(release.saes().unwrap().len(), release.n_saes, "{}", release.name);
    }
    assert!(TEXT.len() < MOST_BYTES, "{} bytes", TEXT.len());
}

#[test]
fn every_entry_reads_a_place_that_its_model_has() {
    let mut models = HashSet::new();
    for sae in embedded().search(&Query::all()).unwrap() {
        let name = format!("{} {}", sae.release.name, sae.entry.id);
        let model = sae.release.model.rsplit('/').next().unwrap();
        let known = LAYERS.iter().find(|(known, _)| *known == model);
        let (known, layers) = *known.unwrap_or_else(|| panic!("{name}: model {model}"));
        models.insert(known);
        let hook = sae.hook().unwrap_or_else(|| panic!("{name}: no hook"));
        for hook in [Some(hook), sae.hook_out()].into_iter().flatten() {
            match hook.place() {
                Place::Embed => {}
                Place::Block(layer, site) => {
                    assert!(layer < layers, "{name}: {hook}");
                    assert!(SITES.contains(&site), "{name}: {hook}");
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    assert_eq!(models.len(), LAYERS.len());
}

/// Has nothing, and notes what it was asked for.
#[derive(Default)]
struct Empty(Mutex<Vec<RemoteFile>>);

impl Fetch for Empty {
    fn get(&self, file: &RemoteFile) -> Result<PathBuf, FetchError> {
        file.check()?;
        self.0.lock().unwrap().push(file.clone());
        let (repo_id, path) = (file.repo_id.clone(), file.path.clone());
        Err(FetchError::NotFound { repo_id, path, url: String::new() })
    }

    fn exists(&self, file: &RemoteFile) -> Result<bool, FetchError> {
        file.check().map(|()| false)
    }
}

#[test]
fn every_entry_leads_to_a_loader_and_to_files_of_its_repository() {
    let catalogue = embedded();
    for sae in catalogue.search(&Query::all()).unwrap() {
        let (release, id) = (&sae.release.name, &sae.entry.id);
        let empty = Empty::default();
        let asked = from_pretrained(&empty, &catalogue, release, id, &Options::default());
        let Err(Error::Fetch(FetchError::NotFound { .. })) = asked else {
            panic!("{release} {id}: {:?}", asked.err());
        };
        let asked = empty.0.into_inner().unwrap();
        assert!(!asked.is_empty(), "{release} {id}: no file was asked for");
        assert!(asked.iter().all(|file| file.repo_id == sae.release.repo_id), "{release} {id}");
    }
}

#[test]
fn names_are_unambiguous() {
    let catalogue = embedded();
    let (mut ids, mut dashboards) = (HashSet::new(), HashSet::new());
    for sae in catalogue.search(&Query::all()).unwrap() {
        assert!(ids.insert((&sae.release.name, sae.entry.id.clone())), "{sae:?}");
        if let Some(id) = &sae.entry.neuronpedia_id {
            assert!(dashboards.insert(id.clone()), "{id}");
        }
    }
    assert_eq!(dashboards.len(), 2_441);
}

fn place(release: &str, id: &str, hook: &str, width: Option<u64>) {
    let catalogue = embedded();
    let sae = catalogue.find(release, id).unwrap();
    assert_eq!(sae.hook().unwrap().to_string(), hook, "{release} {id}");
    assert_eq!(sae.width(), width, "{release} {id}");
}

#[test]
fn each_converters_names_tell_place_and_width() {
    place(
        "gpt2-small-res-jb",
        "blocks.11.hook_resid_post",
        "blocks.11.hook_resid_post",
        Some(24576),
    );
    let split = "blocks.8.hook_resid_pre_98304";
    place("gpt2-small-res-jb-feature-splitting", split, "blocks.8.hook_resid_pre", Some(98304));
    place("gpt2-small-hook-z-kk", "blocks.3.hook_z", "blocks.3.attn.hook_z", Some(24576));
    let mlp = "blocks.0.hook_mlp_out";
    place("gpt2-small-mlp-tm", mlp, mlp, Some(24576));
    place("gpt2-small-mlp-out-v5-128k", mlp, mlp, Some(131_072));
    let embedding = "embedding/width_4k/average_l0_6";
    place("gemma-scope-2b-pt-res", embedding, "hook_embed", Some(4096));
    let canonical = "layer_25/width_65k/canonical";
    place("gemma-scope-2b-pt-att-canonical", canonical, "blocks.25.attn.hook_z", Some(65536));
    let affine = "layer_9_width_262k_l0_small_affine";
    place("gemma-scope-2-4b-pt-transcoders-all", affine, "blocks.9.mlp.hook_in", Some(262_144));
    place("llama_scope_lxa_32x", "l31a_32x", "blocks.31.hook_attn_out", Some(131_072));
    let distilled = "l0r_800m_slimpajama";
    place("llama_scope_r1_distill", distilled, "blocks.0.hook_resid_post", Some(32768));
    let bench = "blocks.5.hook_resid_post__trainer_5_step_46322";
    let release = "sae_bench_gemma-2-2b_vanilla_width-2pow14_date-1109";
    place(release, bench, "blocks.5.hook_resid_post", Some(16384));
    let trainer = "resid_post_layer_27_trainer_1";
    place("qwen2.5-7b-instruct-andyrdt", trainer, "blocks.27.hook_resid_post", None);
    place("qwen-scope-3.5-27b-w80k-l100", "layer63", "blocks.63.hook_resid_post", Some(81920));
    place("mwhanna-qwen3-4b-transcoders", "layer_35", "blocks.35.mlp.hook_in", None);
    place("mntss-gemma-2-2b-2.5m-clt-as-per-layer", "layer_25", "blocks.25.mlp.hook_in", None);
    place("goodfire-llama-3.3-70b-instruct", "layer_50", "blocks.50.hook_resid_post", None);
}

#[test]
fn transcoders_write_elsewhere() {
    let catalogue = embedded();
    let out = |release, id| catalogue.find(release, id).unwrap().hook_out();
    let there = Some(HookName::block(9, Site::MlpOut));
    assert_eq!(out("gemma-scope-2-4b-pt-transcoders-all", "layer_9_width_16k_l0_big"), there);
    assert_eq!(out("mwhanna-qwen3-4b-transcoders", "layer_9"), there);
    assert_eq!(out("gemma-scope-2-4b-pt-mlp-all", "layer_9_width_16k_l0_big"), None);
}

#[test]
fn a_wrong_name_is_answered_with_the_nearest() {
    let catalogue = embedded();
    let Err(Error::UnknownRelease { nearest, .. }) = catalogue.find("gpt2-small-resjb", "x") else {
        panic!("expected an unknown release");
    };
    assert_eq!(nearest[0], "gpt2-small-res-jb");
    let wrong = catalogue.find("gpt2-small-res-jb", "blocks.12.hook_resid_post").unwrap_err();
    assert!(wrong.to_string().contains("`blocks.11.hook_resid_post`"), "{wrong}");
}

fn count(change: impl FnOnce(&mut Query)) -> usize {
    let mut query = Query::all();
    change(&mut query);
    embedded().search(&query).unwrap().len()
}

#[test]
fn queries_narrow_the_catalogue() {
    assert_eq!(count(|_| {}), 13_857);
    assert_eq!(count(|q| q.model = Some("gpt2-small".to_owned())), 159);
    // With and without the owner, in either case.
    assert_eq!(count(|q| q.model = Some("google/gemma-3-4b-pt".to_owned())), 876);
    assert_eq!(count(|q| q.model = Some("Gemma-3-4B-pt".to_owned())), 876);
    assert_eq!(count(|q| q.release = Some("res-jb".to_owned())), 13 + 8 + 5 + 1);
    let layer_7 = count(|q| {
        q.release = Some("gpt2-small-res-jb".to_owned());
        q.layer = Some(7);
    });
    assert_eq!(layer_7, 1);
    assert_eq!(count(|q| q.neuronpedia_id = Some("gpt2-small/7-res-jb".to_owned())), 1);
    assert_eq!(count(|q| q.hook = Some("hook_embed".to_owned())), 8);
    assert_eq!(count(|q| q.width = Some(1 << 20)), 186);
    let dense = count(|q| q.l0 = Some((1000.0, f64::INFINITY)));
    assert!((1..200).contains(&dense), "{dense}");
}

#[test]
fn the_processing_that_a_model_needs_is_known() {
    let catalogue = embedded();
    let of = |release: &str| {
        let release = catalogue.release(release).unwrap();
        let entry = release.saes().unwrap().remove(0);
        sae_registry::Published { release, entry }.processing()
    };
    let centred = ModelProcessing { center_writing_weights: true, ..ModelProcessing::NONE };
    assert_eq!(of("gpt2-small-res-jb"), (centred, Reason::Stated));
    assert_eq!(of("gpt2-small-mlp-tm"), (centred, Reason::Stated));
    assert_eq!(of("gpt2-small-hook-z-kk"), (ModelProcessing::DEFAULT, Reason::Trained));
    assert_eq!(of("gemma-scope-2b-pt-res"), (ModelProcessing::NONE, Reason::AsPublished));
}

/// Reads a catalogue of one release whose entries are given.
fn yaml(entries: &str) -> Result<Catalogue, Error> {
    let head = "a:\n  conversion_func: null\n  model: gpt2-small\n  repo_id: owner/name\n  saes:\n";
    Catalogue::from_yaml(&format!("{head}{entries}"), Path::new("saes.yaml"))
}

#[test]
fn a_release_inside_an_entry_is_taken_apart() {
    let nested = "
  - id: blocks.2.hook_resid_pre
    path: 2
  - id: blocks.10.hook_resid_pre
    path: v5_32k_layer_10.pt
    model: gpt2-small
    repo_id: owner/name
    conversion_func: null
    saes:
    - id: blocks.2.hook_resid_pre
      path: 2
    - id: blocks.6.hook_resid_pre
      path: 6
";
    let catalogue = yaml(nested).unwrap();
    let saes = catalogue.release("a").unwrap().saes().unwrap();
    let paths: Vec<_> = saes.iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["2", "v5_32k_layer_10.pt", "6"]);

    let foreign = nested.replace("repo_id: owner/name", "repo_id: owner/other");
    let refused = yaml(&foreign).unwrap_err();
    assert!(refused.to_string().contains("blocks.10.hook_resid_pre"), "{refused}");
}

#[test]
fn what_is_no_catalogue_is_refused() {
    for (entries, says) in [
        ("  - id: x\n", "path"),
        ("  - id: x\n    path: y\n    paht: z\n", "paht"),
        ("  - id: x\n    path: y\n    l0: many\n", "many"),
        ("  - id: \"x\\ty\"\n    path: y\n", "x\\ty"),
    ] {
        let error = yaml(entries).unwrap_err();
        let all = format!("{error} {:?}", std::error::Error::source(&error));
        assert!(all.contains(says), "{entries}: {all}");
    }
}

#[test]
fn a_newer_file_of_sae_lens_is_read_into_the_same() {
    let newer = yaml("  - id: layer_7\n    path: layer_7\n    l0: 12.5\n    neuronpedia: m/7-x\n");
    let newer = newer.unwrap();
    let sae = newer.find("a", "layer_7").unwrap();
    assert_eq!(sae.hook(), Some(HookName::resid_post(7)));
    assert_eq!(sae.entry.l0, Some(12.5));
    assert_eq!(sae.overrides()["neuronpedia_id"], "m/7-x");
}

#[test]
fn what_is_built_in_is_what_would_be_written() {
    assert!(embedded().to_text().unwrap() == TEXT, "run `cargo xtask catalogue`");
}
