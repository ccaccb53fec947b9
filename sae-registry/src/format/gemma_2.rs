//! `gemma_2`: Gemma Scope, the SAEs of Gemma 2 (arXiv 2408.05147); all but the numbers is in the names.

use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::names::{layer, unknown, width, words};
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// Sizes of a Gemma 2: word in the repository's name, residual width, width of all heads together.
pub(super) const MODELS: [(&str, usize, usize); 3] =
    [("2b", 2304, 2048), ("9b", 3584, 4096), ("27b", 4608, 4608)];
const EMBEDDING: &str = "embedding";

/// `layer_{n}/width_{w}/average_l0_{l}/params.npz` in a repository of one site (`res`, `mlp`, `att`).
pub(super) struct Gemma2;

impl Convert for Gemma2 {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let (model_name, d_model, d_heads) = model(at)?;
        let on = |site: &str| Ok::<_, Error>(format!("blocks.{}.{site}", layer(at, "layer_")?));
        let names = words(at.names());
        let (hook_name, d_in) = match () {
            () if names.contains(&"res") && is_embedding(at) => ("hook_embed".to_owned(), d_model),
            () if names.contains(&"res") => (on("hook_resid_post")?, d_model),
            () if names.contains(&"mlp") => (on("hook_mlp_out")?, d_model),
            () if names.contains(&"att") => (on("attn.hook_z")?, d_heads),
            () => {
                return Err(unknown(at, "site", "`res`, `mlp` or `att` in the repository's name"));
            }
        };
        Ok(object(json!({
            "architecture": "jumprelu",
            "d_in": d_in,
            "d_sae": width(at.path()),
            "model_name": model_name,
            "hook_name": hook_name,
            "prepend_bos": true,
            "dataset_path": "monology/pile-uncopyrighted",
            "context_size": 1024,
            "apply_b_dec_to_input": false,
        })))
    }

    fn weights(&self, at: &At<'_>, spec: &SaeSpec) -> Result<Renamed, Error> {
        let (mut w_enc, mut w_dec) = (Recipe::from(["w_enc"]), Recipe::from(["w_dec"]));
        if is_embedding(at) {
            // Trained on embeddings times sqrt(d_model), as Gemma scales them.
            #[allow(clippy::cast_precision_loss)]
            let scale = (spec.d_in as f64).sqrt();
            (w_enc, w_dec) = (w_enc.times(1.0 / scale), w_dec.times(scale));
        }
        Ok(Renamed::of(at.tensors(&at.inside("params.npz"))?)
            .tensor("W_enc", w_enc.any_case())
            .tensor("W_dec", w_dec.any_case())
            .others_as_they_are())
    }
}

fn is_embedding(at: &At<'_>) -> bool {
    at.path().contains(EMBEDDING)
}

/// TransformerLens' name of the model, and its widths: residual, all heads together.
///
/// # Errors
/// The names name no Gemma 2.
pub(super) fn model(at: &At<'_>) -> Result<(String, usize, usize), Error> {
    let names = words(at.names());
    let found = names.iter().enumerate().rev().find_map(|(i, word)| {
        let (size, d_model, d_heads) = *MODELS.iter().find(|(size, ..)| size == word)?;
        let tuned = if names.get(i + 1) == Some(&"it") { "-it" } else { "" };
        Some((format!("gemma-2-{size}{tuned}"), d_model, d_heads))
    });
    found.ok_or_else(|| unknown(at, "model", "`2b`, `9b` or `27b` in the repository's name"))
}
