//! `connor_rob_hook_z`: attention SAEs of GPT-2 small by Connor Kissane and Robert Krzyzanowski.

use sae_core::sae::SaeSpec;
use serde_json::{Map, Value, json};

use super::{At, Convert, Renamed, object};
use crate::Error;

/// `{name}.pt`, which has SAELens' names, and `{name}_cfg.json`.
pub(super) struct ConnorRobHookZ;

impl Convert for ConnorRobHookZ {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        let cfg = at.json(&config_path(at))?;
        Ok(object(json!({
            "architecture": "standard",
            "d_in": cfg.need_size("act_size")?,
            "d_sae": cfg.need_size("dict_size")?,
            "model_name": "gpt2-small",
            "hook_name": cfg.text("act_name")?,
            "apply_b_dec_to_input": true,
            "prepend_bos": true,
            "dataset_path": "Skylion007/openwebtext",
            "context_size": 128,
            "normalize_activations": "none",
            "reshape_activations": "hook_z",
        })))
    }

    fn weights(&self, at: &At<'_>, _: &SaeSpec) -> Result<Renamed, Error> {
        Ok(Renamed::of(at.tensors(at.path())?).others_as_they_are())
    }
}

/// Where the configuration of a file lies.
pub(super) fn config_path(at: &At<'_>) -> String {
    let name = at.path().split(".pt").next().unwrap_or_default();
    format!("{name}_cfg.json")
}
