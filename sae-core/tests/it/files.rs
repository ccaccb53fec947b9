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
        &[
            "`architecture`",
            "gatted",
            "one of standard, gated, topk, abstopk, batchtopk, matryoshka",
        ],
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
        &v6(r#""architecture":"gated","normalize_activations":"constant_scalar_rescale""#),
        &["`normalize_activations`", "constant_scalar_rescale", "one of none, expected"],
    );
    refused(&v6(r#""architecture":"gated","normalize_activations":true"#), &["a text"]);
    refused(
        &v6(r#""architecture":"gated","reshape_activations":"z""#),
        &["`reshape_activations`", "none or hook_z"],
    );
    let temporal = |fields: &str| v6(&format!(r#""architecture":"temporal","n_heads":1{fields}"#));
    refused(&temporal(""), &["`n_heads`", "a divisor of d_sae / bottleneck_factor"]);
    refused(
        &temporal(r#","bottleneck_factor":2,"sae_diff_type":"gelu""#),
        &["`sae_diff_type`", "relu or topk"],
    );
    refused(
        &temporal(r#","bottleneck_factor":2,"normalize_activations":"covariance_whitening""#),
        &["`normalize_activations`", "covariance_whitening", "constant_scalar_rescale"],
    );
    refused(
        &v6(r#""architecture":"transcoder","apply_b_dec_to_input":true"#),
        &["`apply_b_dec_to_input`", "false, in a transcoder"],
    );
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
fn temporal_saes_keep_the_largest_latents_unless_they_say_otherwise() {
    let cfg = |kind: &str| {
        let fields = r#""d_in":4,"d_sae":8,"architecture":"temporal","n_heads":2"#;
        let fields = format!(r#"{fields},"bottleneck_factor":2,"kval_topk":3{kind}"#);
        parse(&format!(r#"{{{fields},"metadata":{{"sae_lens_version":"6.54.12"}}}}"#)).unwrap()
    };
    for (kind, want) in [("", true), (r#","sae_diff_type":"relu""#, false)] {
        let Architecture::Temporal(temporal) = cfg(kind).architecture else { panic!("{kind}") };
        assert_eq!((temporal.top_k, temporal.kval_topk), (want, Some(3)));
    }
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

#[test]
fn a_file_in_the_form_of_version_6_without_a_version_keeps_its_metadata() {
    let spec = parse(
        r#"{"architecture":"jumprelu","d_in":4,"d_sae":8,"normalize_activations":"none",
            "metadata":{"hook_name":"blocks.2.hook_resid_post","model_name":"gpt2-small"}}"#,
    )
    .unwrap();
    assert_eq!(spec.architecture, Architecture::JumpRelu);
    assert_eq!(spec.hook.unwrap().to_string(), "blocks.2.hook_resid_post");
    assert_eq!(spec.metadata["model_name"], "gpt2-small");
}

/// A safetensors file of this header over so many bytes of data.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0u8; data]);
    bytes
}

#[test]
fn a_header_that_lies_is_refused_on_disk_and_in_memory() {
    let entry = |shape: &str, offsets: &str| {
        format!(r#"{{"W":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.safetensors");
    for (what, bytes) in [
        ("offsets that fall", safetensors(&entry("[2]", "[8,0]"), 8)),
        ("offsets beyond the file", safetensors(&entry("[4]", "[0,16]"), 8)),
        ("a gap at the start", safetensors(&entry("[1]", "[4,8]"), 8)),
        ("a shape that overflows", safetensors(&entry("[4294967296,4294967296]", "[0,8]"), 8)),
        ("a shape of another size", safetensors(&entry("[3]", "[0,8]"), 8)),
        ("bytes behind the tensors", safetensors(&entry("[2]", "[0,8]"), 9)),
        ("an unknown type", safetensors(&entry("[2]", "[0,8]").replace("F32", "Q7"), 8)),
        ("a header that is no JSON", safetensors("{]", 0)),
    ] {
        fs::write(&path, &bytes).unwrap();
        let message = TensorFile::open(&path).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message.contains("w.safetensors"), "{what}: {message:?}");
        assert!(TensorFile::from_bytes("w".into(), bytes.into()).is_err(), "{what}");
    }
    let mut longer = safetensors(&entry("[2]", "[0,8]"), 8);
    let past_the_end = longer.len() as u64;
    longer[..8].copy_from_slice(&past_the_end.to_le_bytes());
    fs::write(&path, &longer).unwrap();
    let message = TensorFile::open(&path).err().unwrap().to_string();
    assert!(message.contains(&format!("a header of {past_the_end} bytes")), "{message}");
    assert!(TensorFile::from_bytes("w".into(), longer.into()).is_err());
}

#[test]
fn every_float_type_is_read_and_others_are_named() {
    for (dtype, width, one) in [
        ("F32", 4, 1f32.to_le_bytes().to_vec()),
        ("F64", 8, 1f64.to_le_bytes().to_vec()),
        ("F16", 2, vec![0x00, 0x3c]),
        ("BF16", 2, vec![0x80, 0x3f]),
    ] {
        let header =
            format!(r#"{{"W":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{width}]}}}}"#);
        let mut bytes = safetensors(&header, 0);
        bytes.extend(one);
        let mut file = TensorFile::from_bytes("w".into(), bytes.into()).unwrap();
        assert_eq!(file.f32s("W").unwrap(), [1.0], "{dtype}");
        let message = file.f32s("V").unwrap_err().to_string();
        assert_eq!(message, "w: no tensor `V`, expected []");
    }
    let header = r#"{"W":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    let mut file = TensorFile::from_bytes("w".into(), safetensors(header, 8).into()).unwrap();
    let message = file.f32s("W").unwrap_err().to_string();
    assert_eq!(message, "w: tensor `W` is I64, expected F32, F16, BF16 or F64");
}

#[test]
fn a_folder_in_the_program_reads_as_one_on_disk() {
    let dir = directory(V6, &TENSORS);
    let weights = fs::read(dir.path().join("sae_weights.safetensors")).unwrap();
    let files: &'static [(&'static str, &'static [u8])] = Box::leak(Box::new([
        ("cfg.json", V6.as_bytes()),
        ("sae_weights.safetensors", &*Box::leak(weights.into_boxed_slice())),
    ]));
    let embedded = Folder::Embedded { name: "built-in", files };
    let here = load(&embedded, LoadOptions::default()).unwrap().sae;
    let there = load(&Folder::disk(dir.path()), LoadOptions::default()).unwrap().sae;
    assert_eq!(here.spec(), there.spec());
    let message = embedded.read("absent").unwrap_err().to_string();
    assert!(message.contains("built-in") && message.contains("absent"), "{message}");
}
