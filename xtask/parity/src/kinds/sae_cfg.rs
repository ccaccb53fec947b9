//! The configuration that the library ended up with, as the kinds on SAEs expect it.

use sae_core::sae::SaeSpec;
use sae_core::sae_lens::config;
use serde_json::{Value, json};

use crate::case::Case;

/// The configuration of an SAE under the names of version 6, with the metadata it was loaded with.
pub(crate) fn of(spec: &SaeSpec) -> Value {
    let mut cfg = Value::Object(config(spec));
    cfg["metadata"] = json!(spec.metadata);
    cfg
}

/// Of what the library has, the keys that the case names, at both levels.
pub(crate) fn expected_keys(case: &Case, cfg: &Value) -> Value {
    fn pick(have: &Value, want: &Value) -> Value {
        match want {
            Value::Object(want) if want.get("tol").is_none() => {
                let one = |(key, w): (&String, &Value)| (key.clone(), pick(&have[key], w));
                Value::Object(want.iter().map(one).collect())
            }
            _ => have.clone(),
        }
    }
    pick(cfg, case.expect_json.get("cfg").unwrap_or(&Value::Null))
}
