//! Formats of published SAEs: what is read from files, what from names, and what is refused.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{Device, Tensor};
use sae_core::arch::WeightSource;
use sae_core::io::{write_atomic, write_tensors};
use sae_core::sae::{Architecture, SaeSpec};
use sae_registry::format::{At, Convert, Recipe, Renamed, detect};
use sae_registry::{
    Catalogue, Converter, DirFetch, Error, Options, RemoteFile, from_pretrained, load, load_path,
    spec,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::server::{Kind, REPO, Server, transfers};

/// A repository of that name in a folder, and how to fetch from it.
struct Repo {
    dir: TempDir,
    repo_id: &'static str,
}

impl Repo {
    fn new(repo_id: &'static str) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), repo_id }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(self.repo_id).join(path)
    }

    fn json(self, path: &str, value: &Value) -> Self {
        write_atomic(&self.path(path), value.to_string().as_bytes()).unwrap();
        self
    }

    fn text(self, path: &str, text: &str) -> Self {
        write_atomic(&self.path(path), text.as_bytes()).unwrap();
        self
    }

    fn tensors(self, path: &str, tensors: &[(&str, &[usize])]) -> Self {
        let tensors = tensors.iter().map(|(name, shape)| (*name, counting(shape)));
        write_tensors(&self.path(path), tensors).unwrap();
        self
    }

    fn fetch(&self) -> DirFetch {
        DirFetch::new(self.dir.path())
    }

    fn load(&self, path: &str, converter: Converter) -> Result<sae_core::sae_lens::Loaded, Error> {
        load(&self.fetch(), self.repo_id, path, &converter, &Map::new(), &Options::default())
    }

    fn detects(&self, path: &str) -> Converter {
        let fetch = self.fetch();
        detect(&At::new(&fetch, self.repo_id, path, RemoteFile::MAIN)).unwrap()
    }
}

/// 0, 1, 2, ... in that shape.
fn counting(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::arange(0f32, n as f32, &Device::Cpu).unwrap().reshape(shape).unwrap()
}

fn weight(sae: &dyn sae_core::sae::Sae, name: &str) -> Vec<f32> {
    let tensors = sae.tensors();
    let (_, tensor) = tensors.iter().find(|(n, _)| n == name).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn message<T>(result: Result<T, Error>) -> String {
    result.err().map(|e| e.to_string()).unwrap_or_else(|| "nothing was refused".to_owned())
}

fn sae_lens_folder() -> Repo {
    let metadata = json!({"sae_lens_version": "6.1.0", "hook_name": "blocks.0.hook_mlp_out"});
    let cfg = json!({"architecture": "standard", "d_in": 2, "d_sae": 3, "metadata": metadata});
    Repo::new("owner/saes").json("one/cfg.json", &cfg).tensors(
        "one/sae_weights.safetensors",
        &[("W_enc", &[2, 3]), ("W_dec", &[3, 2]), ("b_enc", &[3]), ("b_dec", &[2]), ("x", &[1])],
    )
}

#[test]
fn converters_have_saelens_names() {
    for converter in Converter::ALL {
        assert_eq!(converter.as_str().parse::<Converter>().unwrap(), converter);
    }
    let says = message("gemma_4".parse::<Converter>());
    assert!(says.contains("`gemma_4`") && says.contains("`gemma_3`"), "{says}");
}

#[test]
fn every_release_of_the_catalogue_has_a_converter() {
    let catalogue = Catalogue::embedded().unwrap();
    for release in catalogue.releases() {
        let converter = release.conversion.as_deref().unwrap_or("sae_lens").parse::<Converter>();
        assert!(converter.is_ok(), "{}", release.name);
    }
}

#[test]
fn every_sae_whose_configuration_is_in_its_name_gets_one() {
    const BY_NAME: [Converter; 5] = [
        Converter::Gemma2,
        Converter::Gemma2Transcoder,
        Converter::QwenScope,
        Converter::Goodfire,
        Converter::DeepseekR1,
    ];
    let catalogue = Catalogue::embedded().unwrap();
    let nowhere = DirFetch::new("no/such/folder");
    let mut met = BTreeSet::new();
    for release in catalogue.releases() {
        let conversion = release.conversion.as_deref().unwrap_or("sae_lens");
        let converter: Converter = conversion.parse().unwrap();
        if !BY_NAME.contains(&converter) {
            continue;
        }
        met.insert(converter);
        for entry in release.saes().unwrap() {
            let published = catalogue.find(&release.name, &entry.id).unwrap();
            let at = At::new(&nowhere, &release.repo_id, &entry.path, RemoteFile::MAIN);
            let spec = spec(&at, &converter, &published.overrides());
            let spec = spec.unwrap_or_else(|e| panic!("{} {}: {e}", release.name, entry.id));
            assert_eq!(spec.hook, published.hook(), "{} {}", release.name, entry.id);
        }
    }
    assert_eq!(met.len(), BY_NAME.len());
}

#[test]
fn a_folder_of_saelens_is_loaded_with_overrides_and_unused_tensors_are_named() {
    let repo = sae_lens_folder();
    let mut overrides = Map::new();
    overrides.insert("normalize_activations".to_owned(), json!("layer_norm"));
    overrides.insert("neuronpedia_id".to_owned(), json!("m/0-s"));
    let options = Options::default();
    let loaded =
        load(&repo.fetch(), "owner/saes", "one", &Converter::SaeLens, &overrides, &options)
            .unwrap();
    let spec = loaded.sae.spec();
    assert_eq!(spec.normalize_activations.as_str(), "layer_norm");
    assert_eq!(spec.metadata["neuronpedia_id"], "m/0-s");
    assert_eq!(loaded.report.unused, ["x"]);
    assert_eq!(repo.detects("one"), Converter::SaeLens);
}

#[test]
fn a_local_folder_is_what_its_files_say() {
    let repo = sae_lens_folder();
    let path = repo.path("one");
    let loaded = load_path(&path, None, &Map::new(), &Options::default()).unwrap();
    assert_eq!(weight(loaded.sae.as_ref(), "W_enc"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let empty = repo.path("two");
    std::fs::create_dir_all(&empty).unwrap();
    let says = message(load_path(&empty, None, &Map::new(), &Options::default()));
    assert!(says.contains("two`: files of no known format"), "{says}");
    assert!(says.contains("sae_weights.safetensors"), "{says}");
}

#[test]
fn a_release_may_be_a_repository() {
    let (repo, catalogue) = (sae_lens_folder(), Catalogue::embedded().unwrap());
    let from = |release: &str, id: &str| {
        from_pretrained(&repo.fetch(), &catalogue, release, id, &Options::default())
    };
    assert_eq!(from("owner/saes", "one").unwrap().sae.spec().d_sae, 3);
    let says = message(from("gpt2-small-res-jbb", "blocks.8.hook_resid_pre"));
    assert!(says.contains("neither a release") && says.contains("`gpt2-small-res-jb`"), "{says}");
    let says = message(from("gpt2-small-res-jb", "blocks.8.resid_pre"));
    assert!(says.contains("`blocks.8.hook_resid_pre`"), "{says}");
}

#[test]
fn decoders_of_sparsify_stay_as_they_lie() {
    let repo = Repo::new("EleutherAI/sae")
        .json("layers.5.mlp/cfg.json", &json!({"d_in": 2, "num_latents": 2, "k": 1}))
        .json("config.json", &json!({"model": "EleutherAI/pythia-70m", "ctx_len": 64}))
        .tensors(
            "layers.5.mlp/sae.safetensors",
            &[("encoder.weight", &[2, 2]), ("encoder.bias", &[2]), ("W_dec", &[2, 2])],
        );
    assert_eq!(repo.detects("layers.5.mlp"), Converter::Sparsify);
    let loaded = repo.load("layers.5.mlp", Converter::Sparsify).unwrap();
    let sae = loaded.sae.as_ref();
    assert_eq!(weight(sae, "W_enc"), [0.0, 2.0, 1.0, 3.0]);
    assert_eq!(weight(sae, "W_dec"), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(weight(sae, "b_dec"), [0.0, 0.0]);
    let spec = sae.spec();
    assert!(spec.apply_b_dec_to_input);
    assert_eq!(spec.hook.unwrap().to_string(), "blocks.5.hook_mlp_out");
    assert_eq!(
        (&spec.metadata["model_name"], &spec.metadata["context_size"]),
        (&json!("EleutherAI/pythia-70m"), &json!(64))
    );
}

#[test]
fn what_sparsify_trains_besides_is_refused_by_field() {
    for (field, value) in [("activation", json!("groupmax")), ("transcode", json!(true))] {
        let mut cfg = json!({"d_in": 2, "num_latents": 2, "k": 1});
        cfg[field] = value;
        let repo = Repo::new("EleutherAI/sae").json("layers.0/cfg.json", &cfg);
        let says = message(repo.load("layers.0", Converter::Sparsify));
        assert!(says.contains(&format!("field `{field}`")), "{says}");
    }
}

const GEMMA_3: [(&str, &[usize]); 6] = [
    ("w_enc", &[2, 3]),
    ("w_dec", &[3, 4]),
    ("b_enc", &[3]),
    ("b_dec", &[4]),
    ("threshold", &[3]),
    ("affine_skip_connection", &[2, 4]),
];

#[test]
fn skip_transcoders_of_gemma_3_read_what_transformers_calls_their_input() {
    let path = "transcoder_all/layer_7_width_16k_l0_big_affine";
    let repo = Repo::new("google/gemma-scope-2-1b-pt")
        .tensors(&format!("{path}/params.safetensors"), &GEMMA_3);
    assert_eq!(repo.detects(path), Converter::Gemma3);
    let loaded = repo.load(path, Converter::Gemma3).unwrap();
    let spec = loaded.sae.spec();
    assert_eq!(spec.architecture_name(), "jumprelu_skip_transcoder");
    assert_eq!(spec.metadata["hook_name"], "blocks.7.hook_mlp_in");
    assert_eq!(spec.hook.unwrap().to_string(), "blocks.7.mlp.hook_in");
    assert_eq!(spec.metadata["model_name"], "google/gemma-3-1b-pt");
    assert_eq!(weight(loaded.sae.as_ref(), "W_skip"), [0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
}

#[test]
fn a_layer_of_a_cross_layer_transcoder_adds_its_decoders_up_and_says_so() {
    let path = "clt/width_262k_l0_big/params_layer_3";
    let mut tensors = GEMMA_3;
    tensors[1] = ("w_dec", &[3, 2, 4]);
    let repo = Repo::new("google/gemma-scope-2-1b-pt")
        .tensors(&format!("{path}.safetensors"), &tensors[..5]);
    assert_eq!(repo.detects(path), Converter::Gemma3);
    let loaded = repo.load(path, Converter::Gemma3).unwrap();
    assert_eq!(weight(loaded.sae.as_ref(), "W_dec")[..4], [4.0, 6.0, 8.0, 10.0]);
    assert!(loaded.report.notes.iter().any(|note| note.contains("added up")));

    let repo = Repo::new("mntss/clt")
        .text("config.yaml", "model_name: m\nfeature_input_hook: hook_resid_mid\nfeature_output_hook: hook_mlp_out\n")
        .tensors("W_enc_2.safetensors", &[("W_enc_2", &[3, 2]), ("b_enc_2", &[3]), ("b_dec_2", &[2])])
        .tensors("W_dec_2.safetensors", &[("W_dec_2", &[3, 2, 2])]);
    assert_eq!(repo.detects("2"), Converter::MntssCltLayerTranscoder);
    let loaded = repo.load("2", Converter::MntssCltLayerTranscoder).unwrap();
    assert_eq!(weight(loaded.sae.as_ref(), "W_dec"), [2.0, 4.0, 10.0, 12.0, 18.0, 20.0]);
}

#[test]
fn dimensions_come_from_the_header_without_the_file() {
    let path = "resid_post/layer_7_width_16k_l0_big";
    let repo = Repo::new(REPO).tensors("params.safetensors", &GEMMA_3[..5]);
    let body = std::fs::read(repo.path("params.safetensors")).unwrap();
    for kind in [Kind::Direct, Kind::Large(302)] {
        let server = Server::new().put(&format!("{path}/params.safetensors"), kind, &body);
        let hub = server.hub();
        let names = json!({"architecture": "jump_relu", "model_name": "gemma-3-1b-pt"});
        server.add(&format!("{path}/config.json"), Kind::Direct, names.to_string().as_bytes());
        let at = At::new(&hub, REPO, path, RemoteFile::MAIN);
        let spec = spec(&at, &Converter::Gemma3, &Map::new()).unwrap();
        assert_eq!((spec.d_in, spec.d_sae), (2, 3));
        let log = server.take_log();
        let weights: Vec<_> = log.into_iter().filter(|r| r.path.contains("params")).collect();
        let ranges = transfers(&weights);
        assert_eq!(ranges[0], "bytes=0-7");
        assert_eq!(ranges.len(), 2, "{ranges:?}");
    }
}

#[test]
fn names_that_do_not_tell_are_errors() {
    let nowhere = DirFetch::new("no/such/folder");
    let untold = |converter: Converter, repo_id: &str, path: &str| {
        let at = At::new(&nowhere, repo_id, path, RemoteFile::MAIN);
        message(spec(&at, &converter, &Map::new()))
    };
    let says = untold(Converter::Gemma2, "google/gemma-scope-3b-pt-res", "layer_1/width_16k");
    assert!(says.contains("does not tell the model"), "{says}");
    let says = untold(Converter::Gemma2, "google/gemma-scope-2b-pt-all", "layer_1/width_16k");
    assert!(says.contains("does not tell the site"), "{says}");
    let says = untold(Converter::Gemma2, "google/gemma-scope-2b-pt-res", "width_16k");
    assert!(says.contains("does not tell the layer"), "{says}");
    let says = untold(Converter::Gemma2, "google/gemma-scope-2b-pt-res", "layer_1/width_17k");
    assert!(says.contains("`d_sae`"), "{says}");
    let says = untold(Converter::QwenScope, "Qwen/SAE-Res-Qwen9-1B-W32K-L0_50", "layer0.sae.pt");
    assert!(says.contains("Qwen3.5-27B"), "{says}");
    let says = untold(Converter::Goodfire, "Goodfire/Other", "Other.pt");
    assert!(says.contains("Llama-3.3-70B-Instruct-SAE-l50.pt"), "{says}");
}

#[test]
fn unknown_classes_and_architectures_are_errors() {
    let config = |class: &str| {
        let trainer = json!({"dict_class": class, "layer": 1, "activation_dim": 2, "dict_size": 3, "lm_name": "m"});
        json!({"trainer": trainer, "buffer": {"ctx_len": 8}})
    };
    let repo = Repo::new("owner/saes").json("a/config.json", &config("CrossCoder"));
    let says = message(repo.load("a", Converter::DictionaryLearning1));
    assert!(says.contains("`trainer.dict_class`") && says.contains("AutoEncoderNew"), "{says}");
    let path = "resid_post/layer_1";
    let repo = Repo::new("google/gemma-scope-2-1b-pt")
        .json(&format!("{path}/config.json"), &json!({"architecture": "topk"}))
        .tensors(&format!("{path}/params.safetensors"), &GEMMA_3[..5]);
    let says = message(repo.load(path, Converter::Gemma3));
    assert!(says.contains("field `architecture` is \"topk\", expected jump_relu"), "{says}");
}

#[test]
fn paths_that_lead_out_of_the_repository_are_refused() {
    let repo = sae_lens_folder();
    for path in ["../saes/one", "one/../../saes/one", "one/./.", "one\\two"] {
        let says = message(repo.load(path, Converter::SaeLens));
        assert!(says.contains("names must be relative paths"), "{path}: {says}");
    }
}

#[test]
fn tensors_of_another_shape_are_named_as_the_file_names_them() {
    let path = "resid_post/layer_1_width_16k";
    let mut tensors = GEMMA_3;
    tensors[1] = ("w_dec", &[4, 3]);
    let repo = Repo::new("google/gemma-scope-2-1b-pt")
        .tensors(&format!("{path}/params.safetensors"), &tensors[..5]);
    let says = message(repo.load(path, Converter::Gemma3));
    assert!(says.contains("tensor `w_dec` is [4, 3], expected [3, 2]"), "{says}");
}

/// A format of one's own.
struct Mine;

impl Convert for Mine {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let given = at.yaml(&at.inside("mine.yml"))?;
        let cfg =
            json!({"architecture": "topk", "d_in": given.need_size("in")?, "d_sae": 3, "k": 2});
        Ok(cfg.as_object().cloned().unwrap_or_default())
    }

    fn weights(&self, at: &At<'_>, spec: &SaeSpec) -> Result<Renamed, Error> {
        assert_eq!(
            spec.architecture,
            Architecture::TopK { k: 2, rescale_acts_by_decoder_norm: false }
        );
        Ok(Renamed::of(at.tensors(&at.inside("mine.safetensors"))?)
            .tensor("W_enc", Recipe::from(["enc"]).transposed().times(2.0))
            .tensor("W_dec", Recipe::from(["dec"]))
            .tensor("b_enc", Recipe::from(["bias"]).spread())
            .tensor("b_dec", Recipe::constant(0.5)))
    }
}

#[test]
fn formats_of_ones_own_are_loaded() {
    let repo = Repo::new("me/saes")
        .text("a/mine.yml", "in: 2\n")
        .tensors("a/mine.safetensors", &[("enc", &[3, 2]), ("dec", &[3, 2]), ("bias", &[1])]);
    let options = Options::default();
    let loaded = load(&repo.fetch(), "me/saes", "a", &Mine, &Map::new(), &options).unwrap();
    let sae = loaded.sae.as_ref();
    assert_eq!(weight(sae, "W_enc"), [0.0, 4.0, 8.0, 2.0, 6.0, 10.0]);
    assert_eq!(weight(sae, "b_enc"), [0.0, 0.0, 0.0]);
    assert_eq!(weight(sae, "b_dec"), [0.5, 0.5]);
    assert_eq!(loaded.report.unused, Vec::<String>::new());
    let path = repo.path("a");
    assert!(load_path(&path, Some(&Mine), &Map::new(), &options).is_ok());
}

#[test]
fn a_source_without_a_tensor_says_under_which_names_it_looked() {
    let repo = Repo::new("a/b").tensors("x.safetensors", &[("other", &[1])]);
    let file = sae_core::io::open_tensors(Path::new(&repo.path("x.safetensors"))).unwrap();
    let mut weights = Renamed::of(file).tensor("W_enc", Recipe::from(["w_enc", "wenc"]));
    let says = weights.take("W_enc", &[1]).unwrap_err().to_string();
    assert!(says.contains("no tensor `w_enc` or `wenc`, expected [1]"), "{says}");
}
