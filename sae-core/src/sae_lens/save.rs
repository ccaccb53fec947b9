//! Writing an SAE as a SAELens directory of version 6.

use std::path::Path;

use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::{CFG_FILE, SPARSITY_FILE, WEIGHTS_FILE, WRITTEN_VERSION, older};
use crate::Result;
use crate::arch::to_inference;
use crate::io::{write_atomic, write_tensors};
use crate::sae::{Architecture, Sae, SaeSpec};

/// Write `cfg.json`, `sae_weights.safetensors` and, if given, `sparsity.safetensors` into `dir`.
///
/// Each file is there whole or not at all; the configuration comes last, so that a directory that
/// has one is complete. The checkpoint of a training run is written as SAELens saves it for inference
/// ([`to_inference`]). A finetuned scaling factor, which version 6 cannot say, is folded into
/// `W_dec`: latents and outputs stay. Tanh-relu latents, which it cannot say either, are written in the
/// layout of version 5 ([`caveat`](super::caveat)).
///
/// # Errors
/// A file cannot be written.
pub fn save(dir: &Path, sae: &dyn Sae, log_sparsity: Option<&Tensor>) -> Result<()> {
    if !sae.spec().is_for_inference() {
        return save(dir, to_inference(sae)?.as_ref(), log_sparsity);
    }
    let mut tensors = sae.tensors();
    if let Some(at) = tensors.iter().position(|(n, _)| n == "finetuning_scaling_factor") {
        let (_, scale) = tensors.remove(at);
        for (name, tensor) in &mut tensors {
            if name == "W_dec" {
                *tensor = tensor.broadcast_mul(&scale.unsqueeze(1)?)?;
            }
        }
    }
    write_tensors(&dir.join(WEIGHTS_FILE), tensors)?;
    if let Some(sparsity) = log_sparsity {
        write_tensors(&dir.join(SPARSITY_FILE), [("sparsity", sparsity.clone())])?;
    }
    let cfg = match older::is_needed(sae.spec()) {
        true => older::config(sae.spec()),
        false => config(sae.spec()),
    };
    let text = format!("{:#}\n", Value::Object(cfg));
    write_atomic(&dir.join(CFG_FILE), text.as_bytes())
}

/// The `cfg.json` of version 6 that describes an SAE (tanh-relu latents, which it cannot say, are called
/// standard).
pub fn config(spec: &SaeSpec) -> Map<String, Value> {
    let mut metadata = spec.metadata.clone();
    metadata.remove("finetuning_scaling_factor");
    metadata.insert("sae_lens_version".to_owned(), json!(WRITTEN_VERSION));
    let mut cfg = Map::new();
    let mut put = |key: &str, value: Value| cfg.insert(key.to_owned(), value);
    put("architecture", json!(spec.architecture_name()));
    for (key, value) in shared(spec) {
        put(key, value);
    }
    put("reshape_activations", json!(spec.reshape_activations.as_str()));
    match &spec.architecture {
        Architecture::TopK { k, rescale_acts_by_decoder_norm }
        | Architecture::AbsTopK { k, rescale_acts_by_decoder_norm } => {
            put("k", json!(k));
            put("rescale_acts_by_decoder_norm", json!(rescale_acts_by_decoder_norm));
        }
        Architecture::BatchTopK(batch) => {
            put("k", json!(batch.k));
            put("rescale_acts_by_decoder_norm", json!(batch.rescale_acts_by_decoder_norm));
            if !batch.matryoshka_widths.is_empty() {
                put("matryoshka_widths", json!(batch.matryoshka_widths));
            }
        }
        Architecture::MatchingPursuit(stop) => {
            put("residual_threshold", json!(stop.residual_threshold));
            put("max_iterations", json!(stop.max_iterations));
            put("stop_on_duplicate_support", json!(stop.stop_on_duplicate_support));
        }
        Architecture::Temporal(temporal) => {
            put("n_heads", json!(temporal.n_heads));
            put("n_attn_layers", json!(temporal.n_attn_layers));
            put("bottleneck_factor", json!(temporal.bottleneck_factor));
            put("sae_diff_type", json!(if temporal.top_k { "topk" } else { "relu" }));
            put("kval_topk", json!(temporal.kval_topk));
            put("tied_weights", json!(temporal.tied_weights));
            let factor = temporal.activation_normalization_factor;
            put("activation_normalization_factor", json!(factor));
        }
        Architecture::Standard { .. } | Architecture::Gated | Architecture::JumpRelu => {}
    }
    if let Some(transcoder) = spec.transcoder {
        put("d_out", json!(transcoder.d_out));
    }
    put("metadata", Value::Object(metadata));
    cfg
}

/// What all versions since 3 say in the same words.
pub(super) fn shared(spec: &SaeSpec) -> [(&'static str, Value); 6] {
    [
        ("d_in", json!(spec.d_in)),
        ("d_sae", json!(spec.d_sae)),
        ("dtype", json!("float32")),
        ("device", json!("cpu")),
        ("apply_b_dec_to_input", json!(spec.apply_b_dec_to_input)),
        ("normalize_activations", json!(spec.normalize_activations.as_str())),
    ]
}
