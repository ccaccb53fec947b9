//! `dictionary_learning_1`: SAEs trained with `dictionary_learning` (`dictionary.py`, version 0.1).

use sae_core::io::Fields;
use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// `{folder}/config.json`, `ae.pt`.
pub(super) struct DictionaryLearning;

/// Classes, SAELens' architecture of each, and whether `b_dec` is subtracted from the input.
///
/// SAELens takes `AutoEncoderNew` for an `AutoEncoder`, and any other class for one as well; here the
/// first is what its own code says, and the others are refused.
const CLASSES: [(&str, &str, bool); 7] = [
    ("AutoEncoder", "standard", true),
    ("AutoEncoderNew", "standard", false),
    ("GatedAutoEncoder", "gated", true),
    ("JumpReluAutoEncoder", "jumprelu", false),
    ("AutoEncoderTopK", "topk", true),
    ("BatchTopKSAE", "jumprelu", true),
    ("MatryoshkaBatchTopKSAE", "jumprelu", true),
];

impl Convert for DictionaryLearning {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let given = at.json(&at.inside("config.json"))?;
        let part = |name: &str| given.object(name)?.ok_or_else(|| given.wrong(name, "an object"));
        let (trainer, buffer) = (part("trainer")?, part("buffer")?);
        let class = trainer.text("dict_class")?;
        let class = CLASSES.iter().find(|(name, ..)| Some(*name) == class.as_deref());
        let (_, architecture, apply_b_dec_to_input) = class.ok_or_else(|| {
            let known = CLASSES.map(|(name, ..)| name).join(", ");
            trainer.wrong("dict_class", &format!("one of {known}"))
        })?;
        let layer = trainer.size("layer")?.ok_or_else(|| trainer.wrong("layer", "a layer"))?;
        let mut cfg = object(json!({
            "architecture": architecture,
            "d_in": trainer.need_size("activation_dim")?,
            "d_sae": trainer.need_size("dict_size")?,
            "model_name": model_name(&trainer)?,
            "hook_name": format!("blocks.{layer}.hook_resid_post"),
            "apply_b_dec_to_input": apply_b_dec_to_input,
            "prepend_bos": true,
            "dataset_path": "monology/pile-uncopyrighted",
            "context_size": buffer.size("ctx_len")?,
            "normalize_activations": "none",
        }));
        if *architecture == "topk" {
            cfg.insert("k".to_owned(), json!(trainer.need_size("k")?));
        }
        Ok(cfg)
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        let matrix =
            |own: &str, layer: &str| Recipe::from([own]).or(Recipe::from([layer]).transposed());
        Ok(Renamed::of(at.tensors(&at.inside("ae.pt"))?)
            .tensor("W_enc", matrix("W_enc", "encoder.weight"))
            .tensor("W_dec", matrix("W_dec", "decoder.weight"))
            .tensor("b_enc", Recipe::from(["b_enc", "encoder.bias"]))
            .tensor("b_dec", Recipe::from(["b_dec", "bias", "decoder_bias", "decoder.bias"]))
            .tensor("b_mag", Recipe::from(["mag_bias"]))
            .tensor("b_gate", Recipe::from(["gate_bias"]))
            .tensor("r_mag", Recipe::from(["r_mag"]))
            .tensor("threshold", Recipe::from(["threshold"]).spread()))
    }
}

/// The model's name without its owner.
fn model_name(trainer: &Fields) -> sae_core::Result<String> {
    const FIELD: &str = "lm_name";
    let name = trainer.text(FIELD)?.ok_or_else(|| trainer.wrong(FIELD, "a model"))?;
    Ok(name.rsplit('/').next().unwrap_or_default().to_owned())
}
