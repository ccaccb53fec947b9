//! `openai`: SAEs of GPT-2 small by OpenAI (arXiv 2406.04093), with ReLU (versions 1 to 4) or TopK (5).
//!
//! Upstream: `openai/sparse_autoencoder`, `model.py` and `paths.py`.

use sae_core::io::{NamedTensors, TorchFile};
use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::names::unknown;
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// `{location}[_v{n}...]/autoencoders/{layer}.pt`, the state of their `Autoencoder`.
pub(super) struct OpenAi;

/// Their locations and TransformerLens' sites.
const LOCATIONS: [(&str, &str); 5] = [
    ("mlp_post_act", "mlp.hook_post"),
    ("resid_delta_attn", "hook_attn_out"),
    ("resid_post_attn", "hook_resid_mid"),
    ("resid_delta_mlp", "hook_mlp_out"),
    ("resid_post_mlp", "hook_resid_post"),
];

impl Convert for OpenAi {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let path = at.file(at.path())?;
        let file = TorchFile::open(&path)?;
        let bad =
            |problem: String| Error::Core(sae_core::Error::BadFile { path: path.clone(), problem });
        let Some([d_sae, d_in]) = file.shape("encoder.weight") else {
            return Err(bad("no matrix `encoder.weight`".to_owned()));
        };
        let mut cfg = object(json!({
            "d_in": d_in,
            "d_sae": d_sae,
            "model_name": "gpt2-small",
            "hook_name": hook_name(at)?,
            "apply_b_dec_to_input": true,
        }));
        let (architecture, normalize) = match file.plain().get("activation").and_then(Value::as_str)
        {
            Some("ReLU") => ("standard", "none"),
            Some("TopK") => {
                let state = file.plain().get("activation_state_dict").and_then(Value::as_object);
                let get = |field: &str| state.and_then(|state| state.get(field));
                let k = get("k").and_then(Value::as_u64);
                let k =
                    k.ok_or_else(|| bad("TopK without `activation_state_dict.k`".to_owned()))?;
                if get("postact_fn").is_some_and(|function| function != "ReLU") {
                    return Err(bad("`postact_fn` of TopK is not ReLU".to_owned()));
                }
                cfg.insert("k".to_owned(), json!(k));
                // Their `from_state_dict` normalises exactly those.
                ("topk", "layer_norm")
            }
            other => {
                let got = other.unwrap_or("missing");
                return Err(bad(format!("`activation` is {got}, expected ReLU or TopK")));
            }
        };
        cfg.insert("architecture".to_owned(), json!(architecture));
        cfg.insert("normalize_activations".to_owned(), json!(normalize));
        Ok(cfg)
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        // Without a decoder of its own, the decoder is the encoder's transpose.
        let tied = Recipe::from(["encoder.weight"]);
        Ok(Renamed::of(at.tensors(at.path())?)
            .tensor("W_enc", Recipe::from(["encoder.weight"]).transposed())
            .tensor("b_enc", Recipe::from(["latent_bias"]))
            .tensor("W_dec", Recipe::from(["decoder.weight"]).transposed().or(tied))
            .tensor("b_dec", Recipe::from(["pre_bias"])))
    }
}

fn hook_name(at: &At<'_>) -> Result<String, Error> {
    let site = LOCATIONS.iter().find(|(location, _)| {
        let mut parts = at.path().split('/');
        parts.any(|part| {
            part.strip_prefix(location).is_some_and(|v| v.is_empty() || v.starts_with("_v"))
        })
    });
    let (_, site) = site.ok_or_else(|| {
        let known = LOCATIONS.map(|(location, _)| location).join(", ");
        unknown(at, "site", &format!("a folder named after one of {known}"))
    })?;
    let file = at.path().rsplit('/').next().unwrap_or_default();
    let layer: Option<u16> = file.strip_suffix(".pt").and_then(|layer| layer.parse().ok());
    let layer = layer.ok_or_else(|| unknown(at, "layer", "a file `{layer}.pt`"))?;
    Ok(format!("blocks.{layer}.{site}"))
}
