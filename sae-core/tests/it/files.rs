//! SAELens directories: what is read, and how damage is named.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use sae_core::io::{Fields, Folder, TensorFile, write_atomic, write_tensors};
use sae_core::sae::{Architecture, Normalize, Reshape, SaeSpec};
use sae_core::sae_lens::{LoadOptions, load, parse_config};

fn parse(json: &str) -> sae_core::Result<SaeSpec> {
    parse_config(Fields::parse(Path::new("some/cfg.json"), json.as_bytes())?)
}

fn refused(json: &str, says: &[&str]) {
    let message = parse(json).unwrap_err().to_string();
    for text in says.iter().chain(&["some/cfg.json"]) {
        assert!(message.contains(text), "{message:?} does not say {text:?}");
    }
}

/// A directory with an SAE whose tensors are as given.
fn directory(cfg: &str, tensors: &[(&str, &[usize])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_atomic(&dir.path().join("cfg.json"), cfg.as_bytes()).unwrap();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let tensors = tensors.iter().map(|(name, shape)| (*name, zeros(shape)));
    write_tensors(&dir.path().join("sae_weights.safetensors"), tensors).unwrap();
    dir
}

fn load_error(dir: &Path) -> String {
    load(&Folder::disk(dir), LoadOptions::default())
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default()
}

const V6: &str =
    r#"{"architecture":"standard","d_in":2,"d_sae":3,"metadata":{"sae_lens_version":"6.1.0"}}"#;
const TENSORS: [(&str, &[usize]); 4] =
    [("W_enc", &[2, 3]), ("W_dec", &[3, 2]), ("b_enc", &[3]), ("b_dec", &[2])];

#[test]
fn a_version_6_configuration_is_read() {
    let spec = parse(
        r#"{"architecture":"topk","d_in":4,"d_sae":8,"k":3,"rescale_acts_by_decoder_norm":true,
            "apply_b_dec_to_input":false,"normalize_activations":"layer_norm","reshape_activations":"hook_z",
            "dtype":"float32","future_field":[1],
            "metadata":{"sae_lens_version":"6.54.12","hook_name":"blocks.3.attn.hook_z","prepend_bos":true}}"#,
    )
    .unwrap();
    assert_eq!(spec.architecture, Architecture::TopK { k: 3, rescale_acts_by_decoder_norm: true });
    assert_eq!((spec.d_in, spec.d_sae, spec.apply_b_dec_to_input), (4, 8, false));
    assert_eq!(spec.normalize_activations, Normalize::LayerNorm);
    assert_eq!(spec.reshape_activations, Reshape::HookZ);
    assert_eq!(spec.hook.unwrap().to_string(), "blocks.3.attn.hook_z");
}

#[test]
fn older_configurations_are_read() {
    let v3 = parse(
        r#"{"d_in":4,"d_sae":8,"hook_point":"blocks.3.attn.hook_z","normalize_activations":true}"#,
    )
    .unwrap();
    assert_eq!(v3.architecture, Architecture::Standard { tanh: false });
    assert_eq!(v3.normalize_activations, Normalize::ExpectedAverageOnlyIn);
    assert_eq!(v3.reshape_activations, Reshape::HookZ);
    assert_eq!(v3.metadata["prepend_bos"], true);
    let topk = r#"{"architecture":"standard","d_in":4,"d_sae":8,"activation_fn_str":"topk","activation_fn_kwargs":{"k":5}}"#;
    let topk = parse(topk).unwrap().architecture;
    assert_eq!(topk, Architecture::TopK { k: 5, rescale_acts_by_decoder_norm: false });
    let tanh = parse(r#"{"d_in":4,"d_sae":8,"activation_fn":"tanh-relu"}"#).unwrap();
    assert_eq!(tanh.architecture, Architecture::Standard { tanh: true });
}

#[test]
fn wrong_configurations_are_refused_by_field() {
    refused("[]", &["not a JSON object"]);
    refused("{", &["not JSON"]);
    refused(r#"{"d_sae":8}"#, &["`d_in` is missing"]);
    refused(r#"{"d_in":"4","d_sae":8}"#, &["`d_in`", "\"4\"", "a whole number"]);
    refused(r#"{"d_in":0,"d_sae":8}"#, &["`d_in`", "above 0"]);
    let v6 =
        |fields: &str| format!(r#"{{"d_in":4,"d_sae":8,"sae_lens_version":"6.0.0",{fields}}}"#);
    refused(
        &v6(r#""architecture":"gatted""#),
        &["`architecture`", "gatted", "one of standard, gated, topk, jumprelu"],
    );
    refused(&v6(r#""architecture":"topk""#), &["`k` is missing"]);
    refused(
        &v6(r#""architecture":"gated","normalize_activations":"layernorm""#),
        &["layernorm", "layer_norm"],
    );
    refused(
        &v6(r#""architecture":"gated","apply_b_dec_to_input":1"#),
        &["`apply_b_dec_to_input`", "true or false"],
    );
    refused(&v6(r#""architecture":"gated","metadata":3"#), &["`metadata`", "an object"]);
    refused(
        &v6(r#""architecture":"gated","metadata":{"hook_name":"blocks.3.hook_resid_pree"}"#),
        &["metadata.hook_name", "did you mean `blocks.3.hook_resid_pre`?"],
    );
    refused(
        r#"{"d_in":4,"d_sae":8,"activation_fn":"swish"}"#,
        &["`activation_fn`", "swish", "tanh-relu"],
    );
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let dir = directory(V6, &TENSORS[1..]);
    let message = load_error(dir.path());
    assert!(message.contains("no tensor `W_enc`, expected [2, 3]"), "{message}");
    assert!(message.contains("sae_weights.safetensors"), "{message}");
    let mut tensors = TENSORS;
    tensors[1] = ("W_dec", &[2, 3]);
    let message = load_error(directory(V6, &tensors).path());
    assert!(message.contains("`W_dec` is [2, 3], expected [3, 2]"), "{message}");
}

#[test]
fn unused_tensors_are_reported() {
    let mut tensors = TENSORS.to_vec();
    tensors.push(("extra", &[1]));
    let dir = directory(V6, &tensors);
    let loaded = load(&Folder::disk(dir.path()), LoadOptions::default()).unwrap();
    assert_eq!(loaded.report.unused, ["extra"]);
}

#[test]
fn a_file_cut_anywhere_is_refused_by_name() {
    let dir = directory(V6, &TENSORS);
    let path = dir.path().join("sae_weights.safetensors");
    let whole = fs::read(&path).unwrap();
    for keep in [0, 4, 8, 20, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..keep]).unwrap();
        let message = load_error(dir.path());
        assert!(message.contains("sae_weights.safetensors"), "cut at {keep}: {message:?}");
        let bytes = whole[..keep].to_vec();
        assert!(TensorFile::from_bytes("memory".into(), bytes.into()).is_err(), "cut at {keep}");
    }
    let mut huge = whole;
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, huge).unwrap();
    assert!(load_error(dir.path()).contains("a header of"), "{}", load_error(dir.path()));
}

#[test]
fn absent_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = load_error(dir.path());
    assert!(message.contains("cfg.json") && message.contains("No such file"), "{message}");
    fs::write(dir.path().join("cfg.json"), V6).unwrap();
    assert!(load_error(dir.path()).contains("sae_weights.safetensors"));
}

#[test]
fn a_finetuned_scaling_factor_needs_its_flag() {
    let cfg = |flag: &str| format!(r#"{{"d_in":2,"d_sae":3{flag}}}"#);
    let mut tensors = TENSORS.to_vec();
    tensors.push(("scaling_factor", &[3]));
    let message = load_error(directory(&cfg(""), &tensors).path());
    assert!(
        message.contains("scaling_factor") && message.contains("finetuning_scaling_factor: true"),
        "{message}"
    );
    assert_eq!(
        load_error(directory(&cfg(r#","finetuning_scaling_factor":true"#), &tensors).path()),
        ""
    );
}
