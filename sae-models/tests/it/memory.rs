//! Loading holds the weights once, whatever file they come from.
#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use sae_core::io::{Folder, WeightDtype};
use sae_models::{Decoder, Keep, LoadOptions, Processing};
use serde_json::json;

use crate::families::{Checkpoint, write};
use crate::gguf::converted;

/// Peak resident size of this process so far, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Values of the token embedding, nearly half of all: a second copy would show.
const EMBEDDING: usize = 5_120_000;
const CHILD: &str = "SAE_MEASURE_LOADING";
const KEEP: &str = "SAE_MEASURE_KEEP";
const STORED: &str = "as stored";
const NAME: &str = "memory::loading_peaks_at_little_more_than_the_weights";

/// By how much loading `path` grows a process of its own: what other tests allocate does not count.
fn grown(path: &Path, keep: &str) -> u64 {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args([NAME, "--exact", "--nocapture", "--test-threads=1"]);
    child.env(CHILD, path).env(KEEP, keep);
    let out = child.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let grown = text.split("grown ").nth(1).unwrap_or_else(|| panic!("{text}"));
    grown.split_whitespace().next().unwrap().parse().unwrap()
}

#[allow(clippy::print_stdout)] // what the parent reads
fn measure(path: PathBuf) {
    let before = peak();
    let weights = match std::env::var(KEEP).unwrap().as_str() {
        "f32" => WeightDtype::F32.into(),
        "f16" => WeightDtype::F16.into(),
        _ => Keep::Stored,
    };
    let options = LoadOptions { processing: Processing::DEFAULT, weights };
    let model = Decoder::load_with(&Folder::disk(path), options).unwrap();
    println!("grown {}", peak() - before);
    drop(model);
}

/// Eleven million parameters of a GPT-2.
fn checkpoint() -> Checkpoint {
    let (d, ctx, layers) = (256usize, 64usize, 8usize);
    let v = EMBEDDING / d;
    let config = json!({
        "model_type": "gpt2", "n_embd": d, "n_head": 4, "n_layer": layers, "n_positions": ctx,
        "vocab_size": v, "n_inner": 4 * d, "layer_norm_epsilon": 1e-5
    });
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
    let mut tensors = vec![
        ("wte.weight".to_owned(), ones(&[v, d])),
        ("wpe.weight".to_owned(), ones(&[ctx, d])),
        ("ln_f.weight".to_owned(), ones(&[d])),
        ("ln_f.bias".to_owned(), ones(&[d])),
    ];
    for l in 0..layers {
        let shapes: [(&str, &[usize]); 12] = [
            ("ln_1.weight", &[d]),
            ("ln_1.bias", &[d]),
            ("attn.c_attn.weight", &[d, 3 * d]),
            ("attn.c_attn.bias", &[3 * d]),
            ("attn.c_proj.weight", &[d, d]),
            ("attn.c_proj.bias", &[d]),
            ("ln_2.weight", &[d]),
            ("ln_2.bias", &[d]),
            ("mlp.c_fc.weight", &[d, 4 * d]),
            ("mlp.c_fc.bias", &[4 * d]),
            ("mlp.c_proj.weight", &[4 * d, d]),
            ("mlp.c_proj.bias", &[d]),
        ];
        tensors.extend(shapes.map(|(name, shape)| (format!("h.{l}.{name}"), ones(shape))));
    }
    Checkpoint { config, tensors }
}

/// Three shards of halves.
fn shards(checkpoint: &Checkpoint, dir: &Path) {
    fs::write(dir.join("config.json"), checkpoint.config.to_string()).unwrap();
    let mut map = serde_json::Map::new();
    for (i, part) in checkpoint.tensors.chunks(checkpoint.tensors.len().div_ceil(3)).enumerate() {
        let file = format!("model-{i}.safetensors");
        let halves: HashMap<_, _> =
            part.iter().map(|(n, t)| (n.clone(), t.to_dtype(DType::F16).unwrap())).collect();
        candle_core::safetensors::save(&halves, dir.join(&file)).unwrap();
        map.extend(part.iter().map(|(n, _)| (n.clone(), file.clone().into())));
    }
    let index = json!({ "weight_map": map }).to_string();
    fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
}

#[test]
fn loading_peaks_at_little_more_than_the_weights() {
    if let Some(path) = std::env::var_os(CHILD) {
        return measure(path.into());
    }
    let checkpoint = checkpoint();
    let parameters: usize = checkpoint.tensors.iter().map(|(_, t)| t.elem_count()).sum();
    let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let [single, sharded, torch, gguf] = &dirs;
    for dir in [single, torch] {
        fs::write(dir.path().join("config.json"), checkpoint.config.to_string()).unwrap();
    }
    write(&single.path().join("model.safetensors"), &checkpoint.tensors);
    shards(&checkpoint, sharded.path());
    let bin = torch.path().join("pytorch_model.bin");
    crate::checkpoints::torch::save(&bin, &checkpoint.tensors);
    converted(&checkpoint, GgmlDType::Q8_0).write(gguf.path());
    drop(checkpoint);
    // (Eight bits and a scale of 32 for each 32 weights are nine.)
    for (dir, what, stored_bits) in [
        (single, "f32", 32),
        (sharded, "shards of f16", 16),
        (torch, "torch", 32),
        (gguf, "GGUF", 9),
    ] {
        for (keep, bits) in [("f32", 32), ("f16", 16), (STORED, stored_bits)] {
            let grown = grown(dir.path(), keep);
            // What the program itself needs, and what is at work on one map. Reading a tensor of
            // torch in halves goes by way of f32.
            let largest = if keep == "f16" && what == "torch" { 4 * EMBEDDING } else { 0 };
            let most = parameters * bits / 8 * 11 / 10 + largest + 12_000_000;
            assert!(grown < most as u64, "{what}, {keep}: {grown}, expected {most} at most");
        }
    }
}
