//! `gemma_3`: Gemma Scope 2, the SAEs, transcoders and cross-layer transcoders of Gemma 3.

use sae_core::io::Fields;
use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::names::{layer, unknown};
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// `{folder}/params.safetensors`, maybe `config.json`; of cross-layer transcoders
/// `{folder}.safetensors`, of which one layer's encoder and the sum of its decoders is taken.
pub(super) struct Gemma3;

/// What an SAE of the collection reads.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    ResidPost,
    AttnOut,
    MlpOut,
    Transcoder,
    CrossLayer,
}

impl Kind {
    fn of(at: &At<'_>) -> Result<Self, Error> {
        let kinds = [
            ("resid_post", Self::ResidPost),
            ("attn_out", Self::AttnOut),
            ("mlp_out", Self::MlpOut),
            ("clt", Self::CrossLayer),
            ("transcoder", Self::Transcoder),
        ];
        let found = kinds.iter().find(|(word, _)| at.path().contains(word)).map(|(_, kind)| *kind);
        let want =
            "`resid_post`, `attn_out`, `mlp_out`, `transcoder` or `clt` in the folder's name";
        found.ok_or_else(|| unknown(at, "site", want))
    }

    fn is_transcoder(self) -> bool {
        matches!(self, Self::Transcoder | Self::CrossLayer)
    }

    /// TransformerLens' site and transformers' module.
    fn reads(self) -> (&'static str, &'static str) {
        match self {
            Self::ResidPost => ("hook_resid_post", "output"),
            Self::AttnOut => ("attn.hook_z", "self_attn.o_proj.input"),
            Self::MlpOut => ("hook_mlp_out", "post_feedforward_layernorm.output"),
            Self::Transcoder | Self::CrossLayer => {
                ("hook_mlp_in", "pre_feedforward_layernorm.output")
            }
        }
    }
}

impl Convert for Gemma3 {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let (kind, layer) = (Kind::of(at)?, layer(at, "layer_")?);
        let given = match at.maybe_file(&at.inside("config.json"))? {
            Some(_) => Some(at.json(&at.inside("config.json"))?),
            None => None,
        };
        let text = |field: &str| match &given {
            Some(given) => Ok::<_, Error>(given.text(field)?),
            None => Ok(None),
        };
        if let Some(given) = &given
            && given.text("architecture")?.as_deref() != Some("jump_relu")
        {
            return Err(given.wrong("architecture", "jump_relu").into());
        }
        let skip = match &given {
            Some(given) => given.flag("affine_connection")?.unwrap_or(false),
            None => at.path().contains("affine"),
        };
        let (site, module) = kind.reads();
        let hf_hook = |module: &str| format!("model.layers.{layer}.{module}");
        let inferred = |module| given.is_none().then(|| hf_hook(module));
        let weights = weights_path(at, kind);
        let shapes = at.shapes(&weights)?;
        let axis = |name: &str, from_end: usize| {
            let shape = shapes.get(name)?;
            shape.get(shape.len().checked_sub(from_end)?).copied()
        };
        let mut cfg = object(json!({
            "architecture": match (kind.is_transcoder(), skip) {
                (false, _) => "jumprelu",
                (true, false) => "jumprelu_transcoder",
                (true, true) => "jumprelu_skip_transcoder",
            },
            "d_in": axis("w_enc", 2),
            "d_sae": axis("w_enc", 1),
            "model_name": model_name(at, given.as_ref())?,
            "hook_name": format!("blocks.{layer}.{site}"),
            "hf_hook_name": text("hf_hook_point_in")?.or_else(|| inferred(module)),
            "prepend_bos": true,
            "dataset_path": "monology/pile-uncopyrighted",
            "context_size": 1024,
            "apply_b_dec_to_input": false,
            "normalize_activations": "none",
            // Even on hook_z: the heads come flattened.
            "reshape_activations": "none",
        }));
        if kind.is_transcoder() {
            let out = || inferred("post_feedforward_layernorm.output");
            cfg.insert("d_out".to_owned(), json!(axis("w_dec", 1)));
            cfg.insert("hook_name_out".to_owned(), json!(format!("blocks.{layer}.hook_mlp_out")));
            let out = text("hf_hook_point_out")?.or_else(out);
            cfg.insert("hf_hook_name_out".to_owned(), json!(out));
        }
        Ok(cfg)
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        let kind = Kind::of(at)?;
        let w_dec = Recipe::from(["w_dec"]);
        let w_dec = if kind == Kind::CrossLayer { w_dec.summed_over(1) } else { w_dec };
        Ok(Renamed::of(at.tensors(&weights_path(at, kind))?)
            .tensor("W_enc", Recipe::from(["w_enc"]))
            .tensor("W_dec", w_dec)
            .tensor("b_enc", Recipe::from(["b_enc"]))
            .tensor("b_dec", Recipe::from(["b_dec"]))
            .tensor("threshold", Recipe::from(["threshold"]))
            // Stored [d_in, d_out].
            .tensor("W_skip", Recipe::from(["affine_skip_connection"]).transposed()))
    }

    fn note(&self, at: &At<'_>) -> Option<String> {
        (Kind::of(at).ok()? == Kind::CrossLayer).then(|| super::SUMMED_DECODERS.to_owned())
    }
}

fn weights_path(at: &At<'_>, kind: Kind) -> String {
    match kind {
        Kind::CrossLayer => format!("{}.safetensors", at.path()),
        _ => at.inside("params.safetensors"),
    }
}

/// The name on the hub: `google/gemma-3-1b-pt`.
fn model_name(at: &At<'_>, given: Option<&Fields>) -> Result<String, Error> {
    const SCOPE: &str = "gemma-scope-2";
    let name = match given {
        Some(given) => {
            given.text("model_name")?.ok_or_else(|| given.wrong("model_name", "a text"))?
        }
        None => {
            let part = at.names().split('/').rfind(|part| part.contains(SCOPE));
            let part = part.and_then(|part| Some(&part[part.find(SCOPE)?..]));
            let part =
                part.ok_or_else(|| unknown(at, "model", "a repository `gemma-scope-2-…`"))?;
            part.replace(SCOPE, "gemma-3")
        }
    };
    let owner = if name.contains("google") { "" } else { "google/" };
    let name = format!("{owner}{name}").replace("-v3", "-3");
    // The base model of this size has no ending on the hub.
    Ok(if name.contains("270m") { name.replace("-pt", "") } else { name })
}
