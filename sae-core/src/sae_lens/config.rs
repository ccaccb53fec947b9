//! `cfg.json` of version 6 to a spec; older ones are first brought to that form.

use serde_json::{Map, Value};

use super::legacy;
use crate::Result;
use crate::hook::{HookName, Place, Site};
use crate::io::Fields;
use crate::sae::{
    Architecture, BatchTopK, MatchingPursuit, Normalize, Reshape, SaeSpec, Temporal, Transcoder,
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
    // (Every training configuration has the field, null or not; no inference configuration does.)
    let training = fields.map().contains_key("decoder_init_norm");
    let (architecture, transcoder) = architecture(&fields, training)?;
    let normalize_activations = normalize(&fields, &architecture)?;
    let apply_b_dec_to_input = fields.flag("apply_b_dec_to_input")?;
    if transcoder.is_some() && apply_b_dec_to_input == Some(true) {
        return Err(fields.wrong("apply_b_dec_to_input", "false, in a transcoder"));
    }
    Ok(SaeSpec {
        architecture,
        d_in: fields.need_size("d_in")?,
        d_sae: fields.need_size("d_sae")?,
        apply_b_dec_to_input: apply_b_dec_to_input.unwrap_or(transcoder.is_none()),
        normalize_activations,
        reshape_activations: reshape(&fields)?,
        hook: hook_in(&fields, &metadata)?,
        transcoder,
        hook_out: hook(&fields, &metadata, "hook_name_out")?,
        training,
        metadata,
    })
}

fn architecture(fields: &Fields, training: bool) -> Result<(Architecture, Option<Transcoder>)> {
    let transcoder = |skip| Ok::<_, crate::Error>(Some(Transcoder { d_out: d_out(fields)?, skip }));
    let standard = Architecture::Standard { tanh: false };
    let alone = |architecture| Ok((architecture, None));
    // SAELens rescales in training unless told otherwise, and the other way round at inference.
    let rescale = fields.flag("rescale_acts_by_decoder_norm")?.unwrap_or(training);
    match fields.text("architecture")?.as_deref() {
        Some("standard") => {
            alone(Architecture::Standard { tanh: fields.flag(legacy::TANH_RELU)?.unwrap_or(false) })
        }
        Some("gated") => alone(Architecture::Gated),
        Some("topk") => alone(Architecture::TopK {
            k: fields.need_size("k")?,
            rescale_acts_by_decoder_norm: rescale,
        }),
        Some("abstopk") => alone(Architecture::AbsTopK {
            k: fields.need_size("k")?,
            rescale_acts_by_decoder_norm: rescale,
        }),
        Some(name @ ("batchtopk" | "matryoshka_batchtopk")) => {
            let nested = name == "matryoshka_batchtopk";
            alone(Architecture::BatchTopK(BatchTopK {
                k: batch_k(fields)?,
                rescale_acts_by_decoder_norm: fields
                    .flag("rescale_acts_by_decoder_norm")?
                    .unwrap_or(true),
                matryoshka_widths: if nested { widths(fields)? } else { Vec::new() },
            }))
        }
        Some("jumprelu") => alone(Architecture::JumpRelu),
        Some("matching_pursuit") => alone(Architecture::MatchingPursuit(pursuit(fields)?)),
        Some("temporal") => alone(Architecture::Temporal(temporal(fields)?)),
        Some("transcoder") => Ok((standard, transcoder(false)?)),
        Some("skip_transcoder") => Ok((standard, transcoder(true)?)),
        Some("jumprelu_transcoder") => Ok((Architecture::JumpRelu, transcoder(false)?)),
        Some("jumprelu_skip_transcoder") => Ok((Architecture::JumpRelu, transcoder(true)?)),
        _ => {
            let want = format!("one of {}", Architecture::NAMES.join(", "));
            Err(fields.wrong("architecture", &want))
        }
    }
}

/// Latents per row of a batch: any number above 0.
fn batch_k(fields: &Fields) -> Result<f64> {
    let k = fields.number("k")?.filter(|k| k.is_finite() && *k > 0.0);
    k.ok_or_else(|| fields.wrong("k", "a number above 0"))
}

/// Widths that rise to `d_sae`, which is added when the last is another.
fn widths(fields: &Fields) -> Result<Vec<usize>> {
    const FIELD: &str = "matryoshka_widths";
    let d_sae = fields.need_size("d_sae")?;
    let wrong = || fields.wrong(FIELD, "a list of whole numbers that rise, none above d_sae");
    let list = fields.get(FIELD).and_then(Value::as_array).ok_or_else(wrong)?;
    let size = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let mut widths = list.iter().map(size).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    if widths.last() != Some(&d_sae) {
        widths.push(d_sae);
    }
    match widths.is_sorted_by(|a, b| a < b) && !list.is_empty() {
        true => Ok(widths),
        false => Err(wrong()),
    }
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
    let or = |field: &str, default: usize| match fields.get(field) {
        Some(_) => fields.need_size(field),
        None => Ok(default),
    };
    let (n_heads, bottleneck_factor) = (or("n_heads", 8)?, or("bottleneck_factor", 64)?);
    if !fields.need_size("d_sae")?.is_multiple_of(n_heads * bottleneck_factor) {
        return Err(fields.wrong("n_heads", "a divisor of d_sae / bottleneck_factor"));
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
        top_k: kind.as_deref() != Some("relu"),
        kval_topk: fields.size("kval_topk")?,
        tied_weights: fields.flag("tied_weights")?.unwrap_or(true),
        activation_normalization_factor: factor,
    })
}

fn normalize(fields: &Fields, architecture: &Architecture) -> Result<Normalize> {
    let Some(text) = fields.text("normalize_activations")? else { return Ok(Normalize::None) };
    let known = Normalize::ALL.into_iter().filter(|mode| mode.fits(architecture));
    known.clone().find(|mode| mode.as_str() == text).ok_or_else(|| {
        let names: Vec<&str> = known.map(Normalize::as_str).collect();
        fields.wrong("normalize_activations", &format!("one of {}", names.join(", ")))
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

/// The hook that is read.
///
/// SAELens names the input of Gemma Scope 2's transcoders `hook_mlp_in`, which lies before the norm;
/// what transformers calls it is the output of the norm, with its gain.
fn hook_in(fields: &Fields, metadata: &Map<String, Value>) -> Result<Option<HookName>> {
    let named = hook(fields, metadata, "hook_name")?;
    let module = metadata.get("hf_hook_name").and_then(Value::as_str);
    let after_norm = module.is_some_and(|m| m.ends_with(".pre_feedforward_layernorm.output"));
    Ok(named.map(|hook| match hook.place() {
        Place::Block(layer, Site::MlpIn) if after_norm => HookName::block(layer, Site::MlpHookIn),
        _ => hook,
    }))
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
