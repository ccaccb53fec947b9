//! GGUF files that are not what they should be.

use std::fs;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use proptest::prelude::*;
use sae_core::io::Folder;
use sae_models::tokenizer::Tokenizer;
use sae_models::{Decoder, Error, Processing};

use crate::families;
use crate::gguf::{Gguf, converted};

fn llama() -> Gguf {
    converted(&families::rms("llama"), GgmlDType::F32)
}

fn error(path: &Path) -> Error {
    Decoder::load(&Folder::disk(path), Processing::NONE).unwrap_err()
}

fn refused(path: &Path, says: &[&str]) {
    let message = error(path).to_string();
    for text in says.iter().chain(&[&*path.to_string_lossy()]) {
        assert!(message.contains(text), "{message:?} does not say {text:?}");
    }
}

#[test]
fn what_the_header_lacks_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut gguf = llama();
    gguf.metadata.retain(|(key, _)| key != "llama.block_count");
    refused(&gguf.write(dir.path()), &["field `llama.block_count` is missing"]);
    let mut gguf = llama();
    gguf.set("general.architecture", Value::String("qwen2moe".to_owned()));
    refused(
        &gguf.write(dir.path()),
        &["general.architecture `qwen2moe` is not supported", "nearest is `qwen2`"],
    );
    let mut gguf = llama();
    gguf.set("llama.rope.scaling.type", Value::String("yarn".to_owned()));
    refused(&gguf.write(dir.path()), &["rope_scaling.rope_type", "yarn"]);
    let mut gguf = llama();
    gguf.set("llama.attention.key_length", Value::U32(1 << 30));
    refused(&gguf.write(dir.path()), &["head_dim", "at most 65536"]);
    let mut gguf = llama();
    gguf.set("llama.attention.head_count", Value::U64(1 << 40));
    refused(&gguf.write(dir.path()), &["num_attention_heads", "at most 2147483648"]);
    let mut gguf = llama();
    gguf.set("general.alignment", Value::U32(0));
    refused(&gguf.write(dir.path()), &["general.alignment", "a power of two"]);
}

#[test]
fn all_tensors_that_do_not_fit_are_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut gguf = llama();
    gguf.tensors.retain(|(name, _)| name != "blk.1.ffn_up.weight" && name != "blk.0.attn_k.weight");
    let odd = |shape: usize| {
        let zeros = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu).unwrap();
        QTensor::quantize(&zeros, GgmlDType::F32).unwrap()
    };
    gguf.tensors.push(("blk.0.attn_sinks.weight".to_owned(), odd(4)));
    gguf.tensors.retain(|(name, _)| name != "output_norm.weight");
    gguf.tensors.push(("output_norm.weight".to_owned(), odd(7)));
    let Error::Tensors { report, .. } = error(&gguf.write(dir.path())) else {
        panic!("not a report");
    };
    let missing: Vec<&str> = report.missing.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(missing, ["blk.0.attn_k.weight", "blk.1.ffn_up.weight"]);
    assert_eq!(report.misshapen[0].name, "output_norm.weight");
    assert_eq!((&report.misshapen[0].got, &report.misshapen[0].want), (&vec![7], &vec![64]));
    assert_eq!(report.unexpected, ["blk.0.attn_sinks.weight"]);
}

#[test]
fn an_unknown_quantisation_is_named_with_its_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let path = llama().write(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    let name = b"blk.1.attn_output.weight";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap() + name.len();
    // Number of axes, two axes, then the type.
    let kind = at + 4 + 2 * 8;
    bytes[kind..kind + 4].copy_from_slice(&20u32.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    refused(&path, &["`blk.1.attn_output.weight` is IQ4_NL, expected F32, F16"]);
}

#[test]
fn files_that_promise_more_than_they_hold_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = llama().write(dir.path());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 100]).unwrap();
    refused(&path, &["truncated or damaged: tensor `"]);
    fs::write(&path, &whole[..100]).unwrap();
    refused(&path, &["the GGUF header promises"]);
    // Numbers of tensors and of metadata.
    for at in [8, 16] {
        let mut hostile = whole.clone();
        hostile[at..at + 8].copy_from_slice(&(u64::MAX / 16).to_le_bytes());
        fs::write(&path, &hostile).unwrap();
        refused(&path, &["cannot hold"]);
    }
    fs::write(&path, b"not a model at all").unwrap();
    refused(&path, &["is not GGUF"]);
    let mut old = whole;
    old[4] = 1;
    fs::write(&path, &old).unwrap();
    refused(&path, &["GGUF version 1, expected 2 or 3"]);
}

#[test]
fn folders_without_one_model_say_what_they_lack() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), &["config.json"]);
    let one = llama().write(dir.path());
    fs::copy(&one, dir.path().join("other.gguf")).unwrap();
    refused(dir.path(), &["2 GGUF files", "model.gguf, other.gguf"]);
    fs::remove_file(dir.path().join("other.gguf")).unwrap();
    let problem = Tokenizer::load(&Folder::disk(dir.path()), 8).unwrap_err().to_string();
    assert!(problem.contains("tokenizer.ggml.tokens"), "{problem}");
    let folder = families::gpt2().folder();
    let problem = Tokenizer::load(&Folder::disk(folder.path()), 8).unwrap_err().to_string();
    assert!(problem.contains("no tokenizer"), "{problem}");
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    refused(folder.path(), &["no weights, expected one of model.safetensors"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a few bytes of the header are, the answer is a model or an error.
    #[test]
    fn damaged_headers_are_errors(
        changes in prop::collection::vec((0usize..2600, any::<u8>()), 1..6),
        cut in 0usize..40_000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = llama().write(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len() - cut % 3 * (cut / 3));
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = Decoder::load(&Folder::disk(&path), Processing::NONE) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
