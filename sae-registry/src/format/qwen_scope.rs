//! `qwen_scope`: TopK SAEs of Qwen 3 and 3.5 by Qwen; sizes are in the repository's name.

use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::names::{number_after, unknown};
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// `layer{n}.sae.pt` in a repository `SAE-Res-{model}-W{n}K-L0_{k}`.
pub(super) struct QwenScope;

/// Models and their widths.
const MODELS: [(&str, usize); 7] = [
    ("Qwen3-1.7B-Base", 2048),
    ("Qwen3-8B-Base", 4096),
    ("Qwen3-30B-A3B-Base", 2048),
    ("Qwen3.5-2B-Base", 2048),
    ("Qwen3.5-9B-Base", 4096),
    ("Qwen3.5-27B", 5120),
    ("Qwen3.5-35B-A3B-Base", 2048),
];

impl Convert for QwenScope {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let file = at.path().rsplit('/').next().unwrap_or_default();
        let layer = file.strip_prefix("layer").and_then(|rest| rest.strip_suffix(".sae.pt"));
        let layer: u16 = layer
            .and_then(|layer| layer.parse().ok())
            .ok_or_else(|| unknown(at, "layer", "a file `layer{n}.sae.pt`"))?;
        let (model, d_sae, k) = parts(at.names())
            .ok_or_else(|| unknown(at, "model", "a repository `SAE-Res-{model}-W{n}K-L0_{k}`"))?;
        let found = MODELS.iter().find(|(name, _)| *name == model);
        let (_, d_in) = found.ok_or_else(|| {
            unknown(at, "model", &format!("one of {}", MODELS.map(|(name, _)| name).join(", ")))
        })?;
        Ok(object(json!({
            "architecture": "topk",
            "k": k,
            "d_in": d_in,
            "d_sae": d_sae,
            "context_size": 1024,
            "model_name": format!("Qwen/{model}"),
            "hook_name": format!("blocks.{layer}.hook_resid_post"),
            "hf_hook_name": format!("model.layers.{layer}"),
            "prepend_bos": true,
            "normalize_activations": "none",
            "apply_b_dec_to_input": false,
        })))
    }

    /// Stored as linear layers: `[d_sae, d_in]` and `[d_in, d_sae]`.
    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        Ok(Renamed::of(at.tensors(at.path())?)
            .tensor("W_enc", Recipe::from(["W_enc"]).transposed())
            .tensor("W_dec", Recipe::from(["W_dec"]).transposed())
            .others_as_they_are())
    }
}

/// Model, number of latents and `k` of `SAE-Res-{model}-W{n}K-L0_{k}`.
fn parts(names: &str) -> Option<(&str, usize, usize)> {
    let (_, rest) = names.rsplit_once("SAE-Res-")?;
    let (model, rest) = rest.split_once("-W")?;
    let (thousands, rest) = rest.split_once("K-")?;
    let d_sae = thousands.parse::<usize>().ok()?.checked_mul(1024)?;
    let k = rest.starts_with("L0_").then(|| number_after("L0_", rest)).flatten()?;
    Some((model, d_sae, usize::try_from(k).ok()?))
}
