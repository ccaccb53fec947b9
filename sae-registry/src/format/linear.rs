//! SAEs that are two linear layers of torch: `deepseek_r1` and `goodfire`.

use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::names::{layer, unknown};
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// Weights of `{encoder}` and `{decoder}`, stored `[out, in]`.
pub(super) fn layers(weights: Renamed, encoder: &str, decoder: &str) -> Renamed {
    let of = |layer: &str, part: &str| Recipe::from([format!("{layer}.{part}").as_str()]);
    weights
        .tensor("W_enc", of(encoder, "weight").transposed())
        .tensor("W_dec", of(decoder, "weight").transposed())
        .tensor("b_enc", of(encoder, "bias"))
        .tensor("b_dec", of(decoder, "bias"))
}

/// `deepseek_r1`: one SAE of DeepSeek-R1-Distill-Llama-8B by qresearch; the layer is in the name.
pub(super) struct DeepseekR1;

impl Convert for DeepseekR1 {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        Ok(object(json!({
            "architecture": "standard",
            "d_in": 4096,
            "d_sae": 4096 * 16,
            "context_size": 1024,
            "model_name": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
            "hook_name": format!("blocks.{}.hook_resid_post", layer(at, "l")?),
            "prepend_bos": true,
            "dataset_path": "lmsys/lmsys-chat-1m",
            "normalize_activations": "none",
            "apply_b_dec_to_input": false,
        })))
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        Ok(layers(Renamed::of(at.tensors(at.path())?), "encoder", "decoder"))
    }
}

/// `goodfire`: two SAEs of Llama 3 by Goodfire.
pub(super) struct Goodfire;

/// File, `d_in`, model, layer.
const GOODFIRE: [(&str, usize, &str, u16); 2] = [
    ("Llama-3.3-70B-Instruct-SAE-l50.pt", 8192, "meta-llama/Llama-3.3-70B-Instruct", 50),
    ("Llama-3.1-8B-Instruct-SAE-l19.pth", 4096, "meta-llama/Llama-3.1-8B-Instruct", 19),
];

impl Convert for Goodfire {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let file = at.path().rsplit('/').next().unwrap_or_default();
        let found = GOODFIRE.iter().find(|(name, ..)| *name == file);
        let (_, d_in, model_name, layer) = found.ok_or_else(|| {
            let known = GOODFIRE.map(|(name, ..)| format!("`{name}`")).join(" or ");
            unknown(at, "model", &known)
        })?;
        Ok(object(json!({
            "architecture": "standard",
            "d_in": d_in,
            "d_sae": 65536,
            "model_name": model_name,
            "hook_name": format!("blocks.{layer}.hook_resid_post"),
            "dataset_path": "lmsys/lmsys-chat-1m",
            "apply_b_dec_to_input": false,
        })))
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        Ok(layers(Renamed::of(at.tensors(at.path())?), "encoder_linear", "decoder_linear"))
    }
}
