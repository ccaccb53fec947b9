//! `gemma_2_transcoder`: transcoders of Gemma Scope, from the normalised input of an MLP to its output.

use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::gemma_2::model;
use super::names::{number_after, unknown, width};
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// `layer_{n}/width_{w}/average_l0_{l}/params.npz`.
pub(super) struct Gemma2Transcoder;

impl Convert for Gemma2Transcoder {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let (model_name, d_model, _) = model(at)?;
        let layer = number_after("layer_", at.path()).or(number_after("layer_", at.names()));
        let layer = layer.ok_or_else(|| unknown(at, "layer", "`layer_` and a number"))?;
        Ok(object(json!({
            "architecture": "jumprelu_transcoder",
            "d_in": d_model,
            "d_out": d_model,
            "d_sae": width(at.path()),
            "model_name": model_name,
            "hook_name": format!("blocks.{layer}.ln2.hook_normalized"),
            "hook_name_out": format!("blocks.{layer}.hook_mlp_out"),
            "prepend_bos": true,
            "dataset_path": "monology/pile-uncopyrighted",
            "context_size": 1024,
            "apply_b_dec_to_input": false,
            "normalize_activations": "none",
        })))
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        let named = |names| Recipe::from::<3>(names).any_case();
        Ok(Renamed::of(at.tensors(&at.inside("params.npz"))?)
            .tensor("W_enc", named(["w_enc", "wenc", "w_e"]))
            .tensor("W_dec", named(["w_dec", "wdec", "w_d"]))
            .tensor("b_enc", named(["b_enc", "benc", "b_e"]))
            .tensor("b_dec", named(["b_dec", "bdec", "b_d"]))
            .tensor("threshold", Recipe::from(["threshold"]).any_case()))
    }
}
