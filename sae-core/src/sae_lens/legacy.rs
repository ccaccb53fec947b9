//! `cfg.json` of versions 3 to 5, brought to the form of version 6.

use serde_json::{Map, Value, json};

use crate::Result;
use crate::io::Fields;

/// The key under which a modernised configuration says that latents are the tanh of a ReLU.
pub(super) const TANH_RELU: &str = "__tanh_relu";

/// What version 6 keeps of an older configuration as metadata.
const METADATA: [&str; 17] = [
    "model_name",
    "hook_name",
    "model_class_name",
    "hook_head_index",
    "model_from_pretrained_kwargs",
    "prepend_bos",
    "exclude_special_tokens",
    "neuronpedia_id",
    "context_size",
    "seqpos_slice",
    "dataset_path",
    "sae_lens_version",
    "sae_lens_training_version",
    "hook_name_out",
    "hook_head_index_out",
    "hf_hook_name",
    "hf_hook_name_out",
];

/// Whether the file was written before version 6: it names no version, or one below 6.
pub(super) fn is_legacy(fields: &Fields) -> bool {
    let in_metadata = fields.get("metadata").and_then(|m| m.get("sae_lens_version"));
    let version = fields.get("sae_lens_version").or(in_metadata).and_then(Value::as_str);
    let major = version.and_then(|v| v.split('.').next()).and_then(|m| m.parse::<u32>().ok());
    major.is_none_or(|major| major < 6)
}

/// Bring an older configuration to the form of version 6.
pub(super) fn modernise(fields: &mut Fields) -> Result<()> {
    rename(fields, "hook_point", "hook_name");
    rename(fields, "hook_point_head_index", "hook_head_index");
    rename(fields, "activation_fn_str", "activation_fn");
    set_default(fields, "prepend_bos", json!(true));
    set_default(fields, "apply_b_dec_to_input", json!(true));
    set_default(fields, "architecture", json!("standard"));
    activation(fields)?;
    normalization(fields)?;
    let on_z = fields.text("hook_name")?.is_some_and(|name| name.contains("hook_z"));
    set_default(fields, "reshape_activations", json!(if on_z { "hook_z" } else { "none" }));
    // (A file in the form of version 6 that names no version has its metadata in place already.)
    let mut metadata = match fields.get("metadata") {
        None => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        Some(_) => return Err(fields.wrong("metadata", "an object")),
    };
    metadata.extend(
        METADATA.iter().filter_map(|key| Some(((*key).to_owned(), fields.get(key)?.clone()))),
    );
    if fields.flag("finetuning_scaling_factor")?.unwrap_or(false) {
        metadata.insert("finetuning_scaling_factor".to_owned(), json!(true));
    }
    fields.map_mut().insert("metadata".to_owned(), Value::Object(metadata));
    Ok(())
}

/// The activation function decides between architectures that version 6 tells apart by name.
fn activation(fields: &mut Fields) -> Result<()> {
    match fields.text("activation_fn")?.as_deref() {
        None | Some("relu") => {}
        Some("tanh-relu") => {
            fields.map_mut().insert(TANH_RELU.to_owned(), json!(true));
        }
        Some("topk") => {
            let k = fields.get("activation_fn_kwargs").and_then(|kwargs| kwargs.get("k")).cloned();
            let k = k.ok_or_else(|| fields.wrong("activation_fn_kwargs", "an object with `k`"))?;
            fields.map_mut().insert("architecture".to_owned(), json!("topk"));
            fields.map_mut().insert("k".to_owned(), k);
        }
        Some(_) => return Err(fields.wrong("activation_fn", "relu, tanh-relu or topk")),
    }
    Ok(())
}

/// Before version 4 the field was true or false.
fn normalization(fields: &mut Fields) -> Result<()> {
    if let Some(Value::Bool(yes)) = fields.get("normalize_activations") {
        let mode = if *yes { "expected_average_only_in" } else { "none" };
        fields.map_mut().insert("normalize_activations".to_owned(), json!(mode));
    }
    Ok(())
}

fn rename(fields: &mut Fields, old: &str, new: &str) {
    if let Some(value) = fields.map_mut().remove(old) {
        fields.map_mut().entry(new.to_owned()).or_insert(value);
    }
}

fn set_default(fields: &mut Fields, field: &str, value: Value) {
    if fields.get(field).is_none() {
        fields.map_mut().insert(field.to_owned(), value);
    }
}
