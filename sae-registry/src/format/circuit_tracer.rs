//! Transcoders in the layouts of `circuit-tracer`: `mwhanna_transcoder`, one per layer, and
//! `mntss_clt_layer_transcoder`, one layer of a cross-layer transcoder.

use sae_core::io::Fields;
use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::names::unknown;
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// `layer_{n}.safetensors`; next to it `wandb-config.yaml` and maybe `config.yaml`.
pub(super) struct Mwhanna;

impl Convert for Mwhanna {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let stem = at.path().strip_suffix(".safetensors").unwrap_or(at.path());
        let layer: Option<u16> = stem.rsplit('_').next().and_then(|layer| layer.parse().ok());
        let layer = layer.ok_or_else(|| unknown(at, "layer", "a file `layer_{n}.safetensors`"))?;
        // Some repositories spell it so.
        let misspelt = at.beside("wanb-config.yaml");
        let right = at.beside("wandb-config.yaml");
        let run = at.yaml(if at.maybe_file(&right)?.is_some() { &right } else { &misspelt })?;
        let value = |field: &str| {
            let nested = run.object(field)?.ok_or_else(|| run.wrong(field, "a value"))?;
            nested.need_size("value")
        };
        Ok(object(json!({
            "architecture": "transcoder",
            "d_in": value("d_model")?,
            "d_out": value("d_model")?,
            "d_sae": value("d_feature")?,
            "model_name": model_name(at)?,
            "hook_name": format!("blocks.{layer}.mlp.hook_in"),
            "hook_name_out": format!("blocks.{layer}.hook_mlp_out"),
            "dataset_path": "monology/pile-uncopyrighted",
            // SAELens reads the batch size here.
            "context_size": value("batch_size")?,
            "normalize_activations": "none",
            "apply_b_dec_to_input": false,
            "model_from_pretrained_kwargs": {"fold_ln": false},
        })))
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        Ok(Renamed::of(at.tensors(at.path())?)
            .tensor("W_enc", Recipe::from(["W_enc"]).transposed())
            .others_as_they_are())
    }
}

fn model_name(at: &At<'_>) -> Result<String, Error> {
    const FIELD: &str = "model_name";
    let path = at.beside("config.yaml");
    if at.maybe_file(&path)?.is_some() {
        let given = at.yaml(&path)?;
        return Ok(given.text(FIELD)?.ok_or_else(|| given.wrong(FIELD, "a model"))?);
    }
    // The transcoders of the largest model have no such file.
    let size = at.names().rsplit_once("qwen3-").and_then(|(_, rest)| rest.split_once('b'));
    let size = size.map(|(size, _)| size).filter(|size| size.parse::<f32>().is_ok());
    let size = size.ok_or_else(|| unknown(at, "model", "`qwen3-{size}b`, or a `config.yaml`"))?;
    Ok(format!("Qwen/Qwen3-{size}B"))
}

/// `W_enc_{n}.safetensors`, `W_dec_{n}.safetensors` and `config.yaml`, in the folder that the path `{n}`
/// is in.
pub(super) struct MntssClt;

impl MntssClt {
    fn layer<'a>(at: &At<'a>) -> Result<&'a str, Error> {
        let layer = at.path().rsplit('/').next().unwrap_or_default();
        match layer.parse::<u16>() {
            Ok(_) => Ok(layer),
            Err(_) => Err(unknown(at, "layer", "the number of a layer as the path")),
        }
    }
}

impl Convert for MntssClt {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let layer = Self::layer(at)?;
        let given = at.yaml(&at.beside("config.yaml"))?;
        let need = |given: &Fields, field: &str| {
            given.text(field)?.ok_or_else(|| given.wrong(field, "a text"))
        };
        let hook = |field: &str| Ok::<_, Error>(format!("blocks.{layer}.{}", need(&given, field)?));
        let shapes = at.shapes(&at.beside(&format!("W_enc_{layer}.safetensors")))?;
        let width = |bias: &str| Some(*shapes.get(&format!("{bias}_{layer}"))?.first()?);
        Ok(object(json!({
            "architecture": "transcoder",
            "d_in": width("b_dec"),
            "d_out": width("b_dec"),
            "d_sae": width("b_enc"),
            "model_name": need(&given, "model_name")?,
            "hook_name": hook("feature_input_hook")?,
            "hook_name_out": hook("feature_output_hook")?,
            "normalize_activations": "none",
            "apply_b_dec_to_input": false,
            "model_from_pretrained_kwargs": {"fold_ln": false},
        })))
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        let layer = Self::layer(at)?;
        let file = |name: &str| at.tensors(&at.beside(&format!("{name}_{layer}.safetensors")));
        let of = |name: &str| Recipe::from([format!("{name}_{layer}").as_str()]);
        Ok(Renamed::of(file("W_enc")?)
            .and(file("W_dec")?)
            .tensor("W_enc", of("W_enc").transposed())
            .tensor("b_enc", of("b_enc"))
            .tensor("b_dec", of("b_dec"))
            // One decoder for each layer that is written to.
            .tensor("W_dec", of("W_dec").summed_over(1)))
    }

    fn note(&self, _: &At<'_>) -> Option<String> {
        Some(super::SUMMED_DECODERS.to_owned())
    }
}
