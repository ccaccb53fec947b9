//! GGUF files against the checkpoints that they were made from.

use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use sae_core::testing::Tolerance;
use sae_models::{Keep, LoadOptions, Processing, WeightDtype};

use crate::families::{self, Checkpoint, D_HEAD, HEADS, KV_HEADS, Tensors, logits};

pub(crate) const PLAIN: LoadOptions =
    LoadOptions { processing: Processing::NONE, weights: Keep::As(WeightDtype::F32) };

/// All types of matrices that are read.
pub(crate) const BLOCKS: [GgmlDType; 12] = [
    GgmlDType::F16,
    GgmlDType::BF16,
    GgmlDType::Q4_0,
    GgmlDType::Q4_1,
    GgmlDType::Q5_0,
    GgmlDType::Q5_1,
    GgmlDType::Q8_0,
    GgmlDType::Q2K,
    GgmlDType::Q3K,
    GgmlDType::Q4K,
    GgmlDType::Q5K,
    GgmlDType::Q6K,
];

/// A GGUF file in the making.
pub(crate) struct Gguf {
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<(String, QTensor)>,
}

impl Gguf {
    pub(crate) fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("model.gguf");
        let metadata: Vec<_> = self.metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let tensors: Vec<_> = self.tensors.iter().map(|(k, v)| (k.as_str(), v)).collect();
        let mut file = std::fs::File::create(&path).unwrap();
        gguf_file::write(&mut file, &metadata, &tensors).unwrap();
        path
    }

    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.metadata.retain(|(k, _)| k != key);
        self.metadata.push((key.to_owned(), value));
    }
}

fn architecture(checkpoint: &Checkpoint) -> &str {
    match checkpoint.config["model_type"].as_str().unwrap() {
        "gemma3_text" => "gemma3",
        other => other,
    }
}

/// As llama.cpp's converter writes it, matrices in `blocks`.
pub(crate) fn converted(checkpoint: &Checkpoint, blocks: GgmlDType) -> Gguf {
    let arch = architecture(checkpoint);
    let number = |field: &str| {
        let value = &checkpoint.config[field];
        value.as_u64().map(|n| Value::U32(u32::try_from(n).unwrap()))
    };
    #[allow(clippy::cast_possible_truncation)] // as the format has it
    let float = |field: &str| checkpoint.config[field].as_f64().map(|x| Value::F32(x as f32));
    let fields = [
        ("embedding_length", number("hidden_size").or(number("n_embd"))),
        ("attention.head_count", number("num_attention_heads").or(number("n_head"))),
        ("attention.head_count_kv", number("num_key_value_heads")),
        ("attention.key_length", number("head_dim")),
        ("block_count", number("num_hidden_layers").or(number("n_layer"))),
        ("feed_forward_length", number("intermediate_size").or(number("n_inner"))),
        ("context_length", number("max_position_embeddings").or(number("n_positions"))),
        ("attention.layer_norm_rms_epsilon", float("rms_norm_eps")),
        ("attention.layer_norm_epsilon", float("layer_norm_epsilon")),
        ("rope.freq_base", float("rope_theta")),
        ("attention.sliding_window", number("sliding_window")),
    ];
    let mut gguf = Gguf { metadata: Vec::new(), tensors: Vec::new() };
    gguf.set("general.architecture", Value::String(arch.to_owned()));
    for (key, value) in fields {
        if let Some(value) = value {
            gguf.set(&format!("{arch}.{key}"), value);
        }
    }
    for (name, tensor) in &checkpoint.tensors {
        let (name, tensor) = stored(arch, name, tensor);
        let blocks = if tensor.rank() == 2 { blocks } else { GgmlDType::F32 };
        gguf.tensors.push((name, QTensor::quantize(&tensor, blocks).unwrap()));
    }
    gguf
}

/// llama.cpp's name of a tensor, and what its converter makes of it (`convert_hf_to_gguf.py`).
fn stored(arch: &str, name: &str, tensor: &Tensor) -> (String, Tensor) {
    let mut ours = name.replace("model.layers.", "blk.").replace("h.", "blk.");
    let both_sides = matches!(arch, "gemma2" | "gemma3");
    let after_attention = if both_sides { "post_attention_norm" } else { "ffn_norm" };
    for (theirs, gguf) in [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("wte", "token_embd"),
        ("wpe", "position_embd"),
        ("ln_f", "output_norm"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", after_attention),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("ln_1", "attn_norm"),
        ("ln_2", "ffn_norm"),
        ("attn.c_attn", "attn_qkv"),
        ("attn.c_proj", "attn_output"),
        ("mlp.c_fc", "ffn_up"),
        ("mlp.c_proj", "ffn_down"),
    ] {
        ours = ours.replace(theirs, gguf);
    }
    let heads = if name.contains("q_proj") { HEADS } else { KV_HEADS };
    let tensor = if arch == "llama" && (name.contains("q_proj") || name.contains("k_proj")) {
        let d = tensor.dim(1).unwrap();
        let halves = tensor.reshape((heads, 2, D_HEAD / 2, d)).unwrap();
        halves.transpose(1, 2).unwrap().contiguous().unwrap().reshape((heads * D_HEAD, d)).unwrap()
    } else if arch.starts_with("gemma") && name.contains("norm") {
        (tensor + 1.0).unwrap()
    } else if name.contains(".c_") && name.ends_with("weight") {
        tensor.t().unwrap().contiguous().unwrap()
    } else {
        tensor.clone()
    };
    (ours, tensor)
}

#[test]
fn every_architecture_gives_the_logits_of_the_checkpoint_it_was_made_from() {
    for checkpoint in families::all() {
        let dir = checkpoint.folder();
        let file =
            converted(&checkpoint, GgmlDType::F32).write(&tempfile::tempdir().unwrap().keep());
        let what = architecture(&checkpoint);
        let want = logits(dir.path(), PLAIN);
        Tolerance::F32.check(&logits(&file, PLAIN), &want, what);
        // A folder that holds the one file stands for it.
        Tolerance::F32.check(&logits(file.parent().unwrap(), PLAIN), &want, what);
        let processed = LoadOptions { processing: Processing::DEFAULT, ..PLAIN };
        Tolerance::F32.check(&logits(&file, processed), &logits(dir.path(), processed), what);
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
}

/// A model with axes of 256, which all blocks divide.
pub(crate) fn wide() -> Checkpoint {
    let mut checkpoint = families::rms("qwen2");
    let wide: Tensors = checkpoint
        .tensors
        .iter()
        .map(|(name, t)| {
            let shape: Vec<usize> =
                t.dims().iter().map(|n| if *n == families::D_VOCAB { *n } else { 256 }).collect();
            let mean: f32 = if name.contains("norm") { 1.0 } else { 0.0 };
            (name.clone(), Tensor::randn(mean, 0.1, shape, &Device::Cpu).unwrap())
        })
        .collect();
    checkpoint.tensors = wide;
    for field in ["hidden_size", "intermediate_size"] {
        checkpoint.config[field] = 256.into();
    }
    checkpoint.config["num_attention_heads"] = 4.into();
    checkpoint.config["num_key_value_heads"] = 4.into();
    checkpoint.config["head_dim"] = 64.into();
    checkpoint
}

#[test]
fn every_quantisation_is_read_as_candle_dequantises_it() {
    let mut checkpoint = wide();
    for blocks in BLOCKS {
        let dir = tempfile::tempdir().unwrap();
        let file = converted(&checkpoint, blocks).write(dir.path());
        let rounded = |(name, t): &(String, Tensor)| {
            let t = match t.rank() {
                2 => QTensor::quantize(t, blocks).unwrap().dequantize(&Device::Cpu).unwrap(),
                _ => t.clone(),
            };
            (name.clone(), t)
        };
        let plain = Checkpoint {
            config: checkpoint.config.take(),
            tensors: checkpoint.tensors.iter().map(rounded).collect(),
        };
        let want = logits(plain.folder().path(), PLAIN);
        Tolerance::Bits.check(&logits(&file, PLAIN), &want, &format!("{blocks:?}"));
        checkpoint.config = plain.config;
    }
}

#[test]
fn factors_of_rotary_frequencies_stretch_positions() {
    let mut checkpoint = families::rms("llama");
    let dir = tempfile::tempdir().unwrap();
    let mut gguf = converted(&checkpoint, GgmlDType::F32);
    let factors = Tensor::full(4f32, D_HEAD / 2, &Device::Cpu).unwrap();
    let factors = QTensor::quantize(&factors, GgmlDType::F32).unwrap();
    gguf.tensors.push(("rope_freqs.weight".to_owned(), factors));
    let got = logits(&gguf.write(dir.path()), PLAIN);
    checkpoint.config["rope_scaling"] = serde_json::json!({ "rope_type": "linear", "factor": 4.0 });
    Tolerance::F32.check(&got, &logits(checkpoint.folder().path(), PLAIN), "factors");

    let mut gguf = converted(&checkpoint, GgmlDType::F32);
    gguf.set("llama.rope.scaling.type", Value::String("linear".to_owned()));
    gguf.set("llama.rope.scaling.factor", Value::F32(4.0));
    let scaled = logits(&gguf.write(dir.path()), PLAIN);
    Tolerance::F32.check(&scaled, &got, "linear scaling");
}
