//! What version 6 has no words for is written as version 5 had it: tanh-relu latents.

use serde_json::{Map, Value, json};

use super::save::shared;
use crate::hook::Place;
use crate::sae::{Architecture, SaeSpec};

/// Fields of a configuration of version 5 that are metadata in version 6, and what they are by default.
const FIELDS: [(&str, Value); 9] = [
    ("model_name", Value::Null),
    ("model_from_pretrained_kwargs", Value::Null),
    ("hook_name", Value::Null),
    ("hook_head_index", Value::Null),
    ("prepend_bos", Value::Bool(true)),
    ("context_size", Value::Null),
    ("dataset_path", Value::Null),
    ("neuronpedia_id", Value::Null),
    ("seqpos_slice", Value::Null),
];
/// The last version of that layout.
const VERSION: &str = "5.11.0";

/// Whether version 6 has no words for what the latents are.
pub(super) fn is_needed(spec: &SaeSpec) -> bool {
    spec.architecture == (Architecture::Standard { tanh: true })
}

/// What a user should know of the folder that [`save`](super::save) writes of such an SAE.
pub fn caveat(spec: &SaeSpec) -> Option<&'static str> {
    is_needed(spec).then_some(
        "tanh-relu latents are written in the layout of SAELens 5; SAELens 6 reads them as ReLU and says nothing",
    )
}

/// The `cfg.json` of version 5 that describes a standard SAE with tanh-relu latents.
pub(super) fn config(spec: &SaeSpec) -> Map<String, Value> {
    let mut cfg = Map::new();
    let mut put = |key: &str, value: Value| cfg.insert(key.to_owned(), value);
    put("architecture", json!("standard"));
    put("activation_fn_str", json!("tanh-relu"));
    for (key, value) in shared(spec) {
        put(key, value);
    }
    put("finetuning_scaling_factor", json!(false));
    put("dataset_trust_remote_code", json!(true));
    put("sae_lens_training_version", json!(VERSION));
    for (field, default) in FIELDS {
        put(field, spec.metadata.get(field).cloned().unwrap_or(default));
    }
    if let Some(Place::Block(layer, _)) = spec.hook.map(|hook| hook.place()) {
        put("hook_layer", json!(layer));
    }
    cfg
}
