//! `llama_scope` and `llama_scope_r1_distill`: SAEs of Llama 3.1 8B by OpenMOSS (arXiv 2410.20526).

use sae_core::io::Fields;
use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::linear::layers;
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// `{folder}/hyperparams.json`, `checkpoints/final.safetensors`.
pub(super) struct LlamaScope;

impl LlamaScope {
    fn hyperparams(at: &At<'_>) -> Result<Fields, Error> {
        at.json(&at.inside("hyperparams.json"))
    }
}

impl Convert for LlamaScope {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let given = Self::hyperparams(at)?;
        Ok(config(&given, given.need_size("d_model")?, given.need_size("d_sae")?)?)
    }

    /// One threshold for all latents, on the scale of the trainer's inputs, as SAELens has it.
    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        let given = Self::hyperparams(at)?;
        let need = |fields: &Fields, field: &str| {
            fields.number(field)?.ok_or_else(|| fields.wrong(field, "a number"))
        };
        const NORM: &str = "dataset_average_activation_norm";
        let norm = given.object(NORM)?.ok_or_else(|| given.wrong(NORM, "an object"))?;
        #[allow(clippy::cast_precision_loss)]
        let scale = (given.need_size("d_model")? as f64).sqrt() / need(&norm, "in")?;
        #[allow(clippy::cast_possible_truncation)] // weights are f32
        let threshold = (need(&given, "jump_relu_threshold")? * scale) as f32;
        let file = at.tensors(&at.inside("checkpoints/final.safetensors"))?;
        let weights = layers(Renamed::of(file), "encoder", "decoder");
        Ok(weights.tensor("threshold", Recipe::constant(threshold)))
    }
}

/// `{folder}/config.json`, `sae_weights.safetensors`.
pub(super) struct LlamaScopeR1Distill;

impl Convert for LlamaScopeR1Distill {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let given = at.json(&at.inside("config.json"))?;
        let d_in = given.need_size("d_model")?;
        let d_sae = d_in.checked_mul(given.need_size("expansion_factor")?);
        let d_sae = d_sae.ok_or_else(|| given.wrong("expansion_factor", "a smaller number"))?;
        Ok(config(&given, d_in, d_sae)?)
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        let file = at.tensors(&at.inside("sae_weights.safetensors"))?;
        Ok(layers(Renamed::of(file), "encoder", "decoder")
            .tensor("threshold", Recipe::from(["log_jumprelu_threshold"]).exp()))
    }
}

fn config(given: &Fields, d_in: usize, d_sae: usize) -> sae_core::Result<Map<String, Value>> {
    const HOOK: &str = "hook_point_in";
    let hook_name = given.text(HOOK)?.ok_or_else(|| given.wrong(HOOK, "a hook name"))?;
    Ok(object(json!({
        "architecture": "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "model_name": "meta-llama/Llama-3.1-8B",
        "hook_name": hook_name,
        "prepend_bos": true,
        "dataset_path": "cerebras/SlimPajama-627B",
        "context_size": 1024,
        "apply_b_dec_to_input": false,
        "normalize_activations": "expected_average_only_in",
    })))
}
