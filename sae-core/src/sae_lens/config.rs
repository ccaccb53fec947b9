//! `cfg.json` of version 6 to a spec; older ones are first brought to that form.

use serde_json::{Map, Value};

use super::legacy;
use crate::Result;
use crate::hook::HookName;
use crate::io::Fields;
use crate::sae::{Architecture, Normalize, Reshape, SaeSpec};

/// The spec that a `cfg.json` of any version describes.
///
/// # Errors
/// A field that is missing, of the wrong type, or names something unknown.
pub fn parse_config(mut fields: Fields) -> Result<SaeSpec> {
    if legacy::is_legacy(&fields) {
        legacy::modernise(&mut fields)?;
    }
    let metadata = metadata(&fields)?;
    Ok(SaeSpec {
        architecture: architecture(&fields)?,
        d_in: fields.need_size("d_in")?,
        d_sae: fields.need_size("d_sae")?,
        apply_b_dec_to_input: fields.flag("apply_b_dec_to_input")?.unwrap_or(true),
        normalize_activations: normalize(&fields)?,
        reshape_activations: reshape(&fields)?,
        hook: hook(&fields, &metadata)?,
        metadata,
    })
}

fn architecture(fields: &Fields) -> Result<Architecture> {
    let name = fields.text("architecture")?;
    Ok(match name.as_deref() {
        Some("standard") => {
            Architecture::Standard { tanh: fields.flag(legacy::TANH_RELU)?.unwrap_or(false) }
        }
        Some("gated") => Architecture::Gated,
        Some("topk") => Architecture::TopK {
            k: fields.need_size("k")?,
            rescale_acts_by_decoder_norm: fields
                .flag("rescale_acts_by_decoder_norm")?
                .unwrap_or(false),
        },
        Some("jumprelu") => Architecture::JumpRelu,
        _ => {
            let want = format!("one of {}", Architecture::NAMES.join(", "));
            return Err(fields.wrong("architecture", &want));
        }
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

fn hook(fields: &Fields, metadata: &Map<String, Value>) -> Result<Option<HookName>> {
    match metadata.get("hook_name") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => match name.parse() {
            Ok(hook) => Ok(Some(hook)),
            Err(e) => Err(crate::Error::ConfigField {
                path: fields.path().to_owned(),
                field: "metadata.hook_name".to_owned(),
                got: name.clone(),
                want: format!("a hook name ({e})"),
            }),
        },
        Some(other) => Err(crate::Error::ConfigField {
            path: fields.path().to_owned(),
            field: "metadata.hook_name".to_owned(),
            got: other.to_string(),
            want: "a hook name".to_owned(),
        }),
    }
}
