//! `sparsify`: TopK SAEs trained with EleutherAI's `sparsify` (`sparse_coder.py`, version 1.3).
//!
//! SAELens transposes `W_dec`, which already is `[d_sae, d_in]`, and does not subtract `b_dec` from the
//! input of SAEs with normalised decoders; here it is as `sparsify` has it.

use sae_core::io::Fields;
use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::names::unknown;
use super::{At, Convert, Recipe, Renamed, object};
use crate::Error;

/// `{hookpoint}/cfg.json`, `sae.safetensors`; `config.json` next to the folder.
pub(super) struct Sparsify;

impl Convert for Sparsify {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let given = at.json(&at.inside("cfg.json"))?;
        refuse_others(&given)?;
        let d_in = given.need_size("d_in")?;
        // Zero means the expansion factor counts.
        let d_sae = match given.size("num_latents")?.filter(|n| *n > 0) {
            Some(n) => Some(n),
            None => d_in.checked_mul(given.need_size("expansion_factor")?),
        };
        let run = at.beside("config.json");
        let run = match at.maybe_file(&run)? {
            Some(_) => Some(at.json(&run)?),
            None => None,
        };
        let text = |field: &str| run.as_ref().map_or(Ok(None), |run| run.text(field));
        let ctx_len = run.as_ref().map_or(Ok(None), |run| run.size("ctx_len"))?;
        let signed = given.flag("signed")?.unwrap_or(false);
        Ok(object(json!({
            "architecture": if signed { "abstopk" } else { "topk" },
            "k": given.need_size("k")?,
            "d_in": d_in,
            "d_sae": d_sae,
            "model_name": text("model")?,
            "hook_name": hook_name(at)?,
            "apply_b_dec_to_input": true,
            "dataset_path": text("dataset")?
                .unwrap_or_else(|| "togethercomputer/RedPajama-Data-1T-Sample".to_owned()),
            "context_size": ctx_len.unwrap_or(2048),
            "prepend_bos": true,
            "normalize_activations": "none",
        })))
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        let matrix =
            |own: &str, layer: &str| Recipe::from([own]).or(Recipe::from([layer]).transposed());
        Ok(Renamed::of(at.tensors(&at.inside("sae.safetensors"))?)
            .tensor("W_enc", matrix("W_enc", "encoder.weight"))
            .tensor("W_dec", matrix("W_dec", "decoder.weight"))
            .tensor("b_enc", Recipe::from(["b_enc", "encoder.bias"]).or_zeros())
            .tensor("b_dec", Recipe::from(["b_dec", "decoder.bias"]).or_zeros()))
    }
}

/// What `sparsify` can also train, and no architecture here is.
fn refuse_others(given: &Fields) -> Result<(), Error> {
    if !matches!(given.text("activation")?.as_deref(), None | Some("topk")) {
        return Err(given.wrong("activation", "topk").into());
    }
    for field in ["transcode", "skip_connection"] {
        if given.flag(field)?.unwrap_or(false) {
            return Err(given.wrong(field, "false: an SAE, not a transcoder").into());
        }
    }
    Ok(())
}

/// `layers.5` is the output of a block, `layers.5.mlp` and the like of a part of it.
fn hook_name(at: &At<'_>) -> Result<String, Error> {
    let folder = at.path().rsplit('/').next().unwrap_or_default();
    let parts: Vec<&str> = folder.split(['.', '_']).collect();
    let hook = match parts.as_slice() {
        [.., "embed", "tokens"] => Some("hook_embed".to_owned()),
        _ => parts.iter().position(|part| matches!(*part, "layers" | "h")).and_then(|place| {
            let layer: u16 = parts.get(place + 1)?.parse().ok()?;
            let site = match parts.get(place + 2..)? {
                [] => "hook_resid_post",
                ["mlp"] => "hook_mlp_out",
                ["attn" | "attention"] | ["self", "attn"] => "hook_attn_out",
                _ => return None,
            };
            Some(format!("blocks.{layer}.{site}"))
        }),
    };
    hook.ok_or_else(|| {
        unknown(at, "site", "`embed_tokens`, `layers.{n}`, `layers.{n}.mlp` or `.attn`")
    })
}
