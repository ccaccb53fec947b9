//! Small random checkpoints of several families, in Hugging Face layout, for tests of other formats.

use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use sae_core::hook::Plan;
use sae_core::io::{Folder, write_tensors};
use sae_core::model::{Batch, HookedModel};
use sae_models::{Decoder, LoadOptions};
use serde_json::{Value, json};

pub(crate) type Tensors = Vec<(String, Tensor)>;

pub(crate) const D: usize = 64;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const D_HEAD: usize = 16;
pub(crate) const D_MLP: usize = 96;
pub(crate) const D_VOCAB: usize = 40;
pub(crate) const N_CTX: usize = 32;
pub(crate) const LAYERS: usize = 2;

/// A configuration and the tensors that belong to it.
pub(crate) struct Checkpoint {
    pub(crate) config: Value,
    pub(crate) tensors: Tensors,
}

impl Checkpoint {
    /// Write it as a folder.
    pub(crate) fn folder(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), self.config.to_string()).unwrap();
        write(&dir.path().join("model.safetensors"), &self.tensors);
        dir
    }
}

pub(crate) fn write(path: &Path, tensors: &Tensors) {
    write_tensors(path, tensors.iter().map(|(n, t)| (n.as_str(), t.clone()))).unwrap();
}

fn random(shape: &[usize], mean: f32) -> Tensor {
    Tensor::randn(mean, 0.3, shape, &Device::Cpu).unwrap()
}

/// A model whose tensors have Llama's names.
pub(crate) fn rms(model_type: &str) -> Checkpoint {
    let gemma = model_type.starts_with("gemma");
    let both_sides = matches!(model_type, "gemma2" | "gemma3_text");
    let qk_norm = matches!(model_type, "gemma3_text" | "qwen3");
    let mut config = json!({
        "model_type": model_type, "hidden_size": D, "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS, "head_dim": D_HEAD, "num_hidden_layers": LAYERS,
        "intermediate_size": D_MLP, "vocab_size": D_VOCAB, "max_position_embeddings": N_CTX,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": gemma
    });
    if both_sides {
        config["query_pre_attn_scalar"] = D_HEAD.into();
        config["sliding_window"] = 5.into();
    }
    if model_type == "gemma2" {
        config["attn_logit_softcapping"] = 50.0.into();
        config["final_logit_softcapping"] = 30.0.into();
    }
    // Gains of Gemma's norms are stored less one.
    let gain = if gemma { 0.0 } else { 1.0 };
    let (q, kv) = (HEADS * D_HEAD, KV_HEADS * D_HEAD);
    let mut tensors: Tensors = vec![
        ("model.embed_tokens.weight".to_owned(), random(&[D_VOCAB, D], 0.0)),
        ("model.norm.weight".to_owned(), random(&[D], gain)),
    ];
    if !gemma {
        tensors.push(("lm_head.weight".to_owned(), random(&[D_VOCAB, D], 0.0)));
    }
    for layer in 0..LAYERS {
        let mut put = |name: &str, shape: &[usize], mean: f32| {
            tensors.push((format!("model.layers.{layer}.{name}"), random(shape, mean)));
        };
        put("input_layernorm.weight", &[D], gain);
        put("post_attention_layernorm.weight", &[D], gain);
        if both_sides {
            put("pre_feedforward_layernorm.weight", &[D], gain);
            put("post_feedforward_layernorm.weight", &[D], gain);
        }
        for (name, width) in [("q", q), ("k", kv), ("v", kv)] {
            put(&format!("self_attn.{name}_proj.weight"), &[width, D], 0.0);
            if model_type == "qwen2" {
                put(&format!("self_attn.{name}_proj.bias"), &[width], 0.0);
            }
        }
        put("self_attn.o_proj.weight", &[D, q], 0.0);
        if qk_norm {
            put("self_attn.q_norm.weight", &[D_HEAD], gain);
            put("self_attn.k_norm.weight", &[D_HEAD], gain);
        }
        put("mlp.gate_proj.weight", &[D_MLP, D], 0.0);
        put("mlp.up_proj.weight", &[D_MLP, D], 0.0);
        put("mlp.down_proj.weight", &[D, D_MLP], 0.0);
    }
    Checkpoint { config, tensors }
}

/// A GPT-2 whose unembedding is its embedding.
pub(crate) fn gpt2() -> Checkpoint {
    let config = json!({
        "model_type": "gpt2", "n_embd": D, "n_head": HEADS, "n_layer": LAYERS, "n_positions": N_CTX,
        "vocab_size": D_VOCAB, "n_inner": D_MLP, "layer_norm_epsilon": 1e-5
    });
    let mut tensors: Tensors = vec![
        ("wte.weight".to_owned(), random(&[D_VOCAB, D], 0.0)),
        ("wpe.weight".to_owned(), random(&[N_CTX, D], 0.0)),
        ("ln_f.weight".to_owned(), random(&[D], 1.0)),
        ("ln_f.bias".to_owned(), random(&[D], 0.0)),
    ];
    for layer in 0..LAYERS {
        let maps: [(&str, usize, usize); 4] = [
            ("attn.c_attn", D, 3 * D),
            ("attn.c_proj", D, D),
            ("mlp.c_fc", D, D_MLP),
            ("mlp.c_proj", D_MLP, D),
        ];
        for (name, d_in, d_out) in maps {
            tensors.push((format!("h.{layer}.{name}.weight"), random(&[d_in, d_out], 0.0)));
            tensors.push((format!("h.{layer}.{name}.bias"), random(&[d_out], 0.0)));
        }
        for name in ["ln_1", "ln_2"] {
            tensors.push((format!("h.{layer}.{name}.weight"), random(&[D], 1.0)));
            tensors.push((format!("h.{layer}.{name}.bias"), random(&[D], 0.0)));
        }
    }
    Checkpoint { config, tensors }
}

/// All the families here.
pub(crate) fn all() -> Vec<Checkpoint> {
    let rms = ["llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"].map(rms);
    rms.into_iter().chain([gpt2()]).collect()
}

/// Logits after ten tokens, of the model at `path` (a folder or a file).
pub(crate) fn logits(path: &Path, options: LoadOptions) -> Tensor {
    let model = Decoder::load_with(&Folder::disk(path), options).unwrap();
    let batch = Batch::single(&[1, 2, 3, 30, 31, 32, 7, 8, 9, 10]).unwrap();
    model.run(&batch, &Plan::new()).unwrap().require_logits().unwrap().clone()
}
