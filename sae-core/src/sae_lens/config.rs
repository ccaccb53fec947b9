//! `cfg.json` of version 6 to a spec; older ones are first brought to that form.

use serde_json::{Map, Value};

use super::legacy;
use crate::Result;
use crate::hook::HookName;
use crate::io::Fields;
use crate::sae::{
    Architecture, MatchingPursuit, Normalize, Reshape, SaeSpec, Temporal, Transcoder,
};

/// The spec that a `cfg.json` of any version describes.
///
/// # Errors
/// A field that is missing, of the wrong type, or names something unknown.
pub fn parse_config(mut fields: Fields) -> Result<SaeSpec> {
    if legacy::is_legacy(&fields) {
        legacy::modernise(&mut fields)?;
    }
    let metadata = metadata(&fields)?;
    let (architecture, transcoder) = architecture(&fields)?;
    let apply_b_dec_to_input = fields.flag("apply_b_dec_to_input")?;
    if transcoder.is_some() && apply_b_dec_to_input == Some(true) {
        return Err(fields.wrong("apply_b_dec_to_input", "false, in a transcoder"));
    }
    Ok(SaeSpec {
        architecture,
        d_in: fields.need_size("d_in")?,
        d_sae: fields.need_size("d_sae")?,
        apply_b_dec_to_input: apply_b_dec_to_input.unwrap_or(transcoder.is_none()),
        normalize_activations: normalize(&fields)?,
        reshape_activations: reshape(&fields)?,
        hook: hook(&fields, &metadata, "hook_name")?,
        transcoder,
        hook_out: hook(&fields, &metadata, "hook_name_out")?,
        metadata,
    })
}

fn architecture(fields: &Fields) -> Result<(Architecture, Option<Transcoder>)> {
    let name = fields.text("architecture")?;
    let transcoder = |skip| Ok::<_, crate::Error>(Some(Transcoder { d_out: d_out(fields)?, skip }));
    Ok(match name.as_deref() {
        Some("standard") => {
            let tanh = fields.flag(legacy::TANH_RELU)?.unwrap_or(false);
            (Architecture::Standard { tanh }, None)
        }
        Some("gated") => (Architecture::Gated, None),
        Some(name @ ("topk" | "abstopk")) => {
            let k = fields.need_size("k")?;
            let rescale_acts_by_decoder_norm =
                fields.flag("rescale_acts_by_decoder_norm")?.unwrap_or(false);
            let architecture = match name {
                "topk" => Architecture::TopK { k, rescale_acts_by_decoder_norm },
                _ => Architecture::AbsTopK { k, rescale_acts_by_decoder_norm },
            };
            (architecture, None)
        }
        Some("jumprelu") => (Architecture::JumpRelu, None),
        Some("matching_pursuit") => (Architecture::MatchingPursuit(pursuit(fields)?), None),
        Some("temporal") => (Architecture::Temporal(temporal(fields)?), None),
        Some("transcoder") => (Architecture::Standard { tanh: false }, transcoder(false)?),
        Some("skip_transcoder") => (Architecture::Standard { tanh: false }, transcoder(true)?),
        Some("jumprelu_transcoder") => (Architecture::JumpRelu, transcoder(false)?),
        Some("jumprelu_skip_transcoder") => (Architecture::JumpRelu, transcoder(true)?),
        _ => {
            let want = format!("one of {}", Architecture::NAMES.join(", "));
            return Err(fields.wrong("architecture", &want));
        }
    })
}

fn d_out(fields: &Fields) -> Result<usize> {
    match fields.get("d_out") {
        Some(_) => fields.need_size("d_out"),
        None => fields.need_size("d_in"),
    }
}

fn pursuit(fields: &Fields) -> Result<MatchingPursuit> {
    Ok(MatchingPursuit {
        residual_threshold: fields.number("residual_threshold")?.unwrap_or(1e-2),
        max_iterations: fields.size("max_iterations")?,
        stop_on_duplicate_support: fields.flag("stop_on_duplicate_support")?.unwrap_or(true),
    })
}

fn temporal(fields: &Fields) -> Result<Temporal> {
    let n_heads = fields.size("n_heads")?.unwrap_or(8).max(1);
    let d_sae = fields.need_size("d_sae")?;
    let bottleneck_factor = fields.size("bottleneck_factor")?.unwrap_or(64).max(1);
    if !(d_sae / bottleneck_factor).is_multiple_of(n_heads) || !d_sae.is_multiple_of(n_heads) {
        let want = "a divisor of d_sae and of d_sae / bottleneck_factor";
        return Err(fields.wrong("n_heads", want));
    }
    let kind = fields.text("sae_diff_type")?;
    if !matches!(kind.as_deref(), None | Some("relu" | "topk")) {
        return Err(fields.wrong("sae_diff_type", "relu or topk"));
    }
    let factor = fields.number("activation_normalization_factor")?.unwrap_or(1.0);
    if !(factor.is_finite() && factor != 0.0) {
        return Err(fields.wrong("activation_normalization_factor", "a number other than 0"));
    }
    Ok(Temporal {
        n_heads,
        n_attn_layers: fields.size("n_attn_layers")?.unwrap_or(1),
        bottleneck_factor,
        top_k: kind.as_deref() == Some("topk"),
        kval_topk: fields.size("kval_topk")?,
        tied_weights: fields.flag("tied_weights")?.unwrap_or(true),
        activation_normalization_factor: factor,
    })
}

fn normalize(fields: &Fields) -> Result<Normalize> {
    let Some(text) = fields.text("normalize_activations")? else { return Ok(Normalize::None) };
    Normalize::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or_else(|| {
        let names = Normalize::ALL.map(Normalize::as_str).join(", ");
        fields.wrong("normalize_activations", &format!("one of {names}"))
    })
}

fn reshape(fields: &Fields) -> Result<Reshape> {
    match fields.text("reshape_activations")?.as_deref() {
        None | Some("none") => Ok(Reshape::None),
        Some("hook_z") => Ok(Reshape::HookZ),
        Some(_) => Err(fields.wrong("reshape_activations", "none or hook_z")),
    }
}

fn metadata(fields: &Fields) -> Result<Map<String, Value>> {
    match fields.get("metadata") {
        None => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(fields.wrong("metadata", "an object")),
    }
}

fn hook(fields: &Fields, metadata: &Map<String, Value>, key: &str) -> Result<Option<HookName>> {
    let wrong = |got: String, want: String| crate::Error::ConfigField {
        path: fields.path().to_owned(),
        field: format!("metadata.{key}"),
        got,
        want,
    };
    match metadata.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => match name.parse() {
            Ok(hook) => Ok(Some(hook)),
            Err(e) => Err(wrong(name.clone(), format!("a hook name ({e})"))),
        },
        Some(other) => Err(wrong(other.to_string(), "a hook name".to_owned())),
    }
}
