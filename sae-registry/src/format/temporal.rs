//! `temporal`: temporal SAEs by Can Rager and others (arXiv 2511.01836).

use sae_core::io::Fields;
use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::names::layer;
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// `{folder}/conf.yaml`, `latest_ckpt.safetensors`.
pub(super) struct Temporal;

impl Convert for Temporal {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let layer = layer(at, "layer_")?;
        let given = at.yaml(&at.inside("conf.yaml"))?;
        let part = |name: &str| given.object(name)?.ok_or_else(|| given.wrong(name, "a mapping"));
        let (llm, sae) = (part("llm")?, part("sae")?);
        let d_in = llm.need_size("dimin")?;
        let as_it_is = |field: &str| sae.get(field).cloned();
        Ok(object(json!({
            "architecture": "temporal",
            "model_name": llm.text("name")?,
            "hook_name": format!("blocks.{layer}.hook_resid_post"),
            "d_in": d_in,
            "d_sae": d_sae(d_in, &sae)?,
            "n_heads": as_it_is("n_heads"),
            "n_attn_layers": as_it_is("n_attn_layers"),
            "bottleneck_factor": as_it_is("bottleneck_factor"),
            "sae_diff_type": as_it_is("sae_diff_type"),
            "kval_topk": as_it_is("kval_topk"),
            "tied_weights": as_it_is("tied_weights"),
            "normalize_activations": "constant_scalar_rescale",
            "activation_normalization_factor": as_it_is("scaling_factor"),
            "apply_b_dec_to_input": true,
        })))
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        Ok(Renamed::of(at.tensors(&at.inside("latest_ckpt.safetensors"))?)
            .tensor("W_dec", Recipe::from(["D"]))
            .tensor("b_dec", Recipe::from(["b"]))
            .tensor("W_enc", Recipe::from(["E"]))
            // `attn_layers.*`
            .others_as_they_are())
    }
}

/// `d_in` times the expansion factor, which need not be whole, rounded down.
fn d_sae(d_in: usize, sae: &Fields) -> sae_core::Result<usize> {
    const FIELD: &str = "exp_factor";
    const MAX_FACTOR: f64 = 1e6;
    let factor = sae.number(FIELD)?.filter(|f| *f > 0.0 && *f <= MAX_FACTOR);
    let factor = factor.ok_or_else(|| sae.wrong(FIELD, "a number above 0"))?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let d_sae = (d_in as f64 * factor) as usize;
    Ok(d_sae)
}
