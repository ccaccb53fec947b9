//! `sae info`: the configuration of an SAE, without its weights where that is possible.

use anyhow::Result;
use clap::Args;
use sae_core::sae::{Architecture, SaeSpec};
use serde_json::{Value, json};

use crate::published::SaeName;
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// The SAE: a folder or file of any known format, `RELEASE:ID` (see `sae list`), a hub id with a path,
    /// or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) sae: String,
}

pub(crate) fn info(args: &InfoArgs, as_json: bool) -> Result<()> {
    let rows = rows(&SaeName::parse(&args.sae)?.spec()?);
    if as_json {
        let object: serde_json::Map<String, Value> = rows.into_iter().collect();
        return show::json(&object);
    }
    Ok(show::line(table(&rows))?)
}

pub(crate) fn table(rows: &[(String, Value)]) -> comfy_table::Table {
    let mut table = show::table(&["field", "value"]);
    for (field, value) in rows {
        table.add_row([field.clone(), text(value)]);
    }
    table
}

/// A value as people read it.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What is known of an SAE, in the order in which people ask.
pub(crate) fn rows(spec: &SaeSpec) -> Vec<(String, Value)> {
    let mut rows = vec![
        ("architecture", json!(spec.architecture_name())),
        ("d_in", json!(spec.d_in)),
        ("d_sae", json!(spec.d_sae)),
        ("hook_name", json!(spec.hook.map(|h| h.to_string()))),
    ];
    match spec.architecture {
        Architecture::TopK { k, rescale_acts_by_decoder_norm } => {
            rows.push(("k", json!(k)));
            rows.push(("rescale_acts_by_decoder_norm", json!(rescale_acts_by_decoder_norm)));
        }
        Architecture::Standard { tanh: true } => rows.push(("activation_fn", json!("tanh-relu"))),
        _ => {}
    }
    rows.push(("apply_b_dec_to_input", json!(spec.apply_b_dec_to_input)));
    rows.push(("normalize_activations", json!(spec.normalize_activations.as_str())));
    rows.push(("reshape_activations", json!(spec.reshape_activations.as_str())));
    let mut rows: Vec<(String, Value)> =
        rows.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
    let rest = spec.metadata.iter().filter(|(key, value)| *key != "hook_name" && !value.is_null());
    rows.extend(rest.map(|(key, value)| (key.clone(), value.clone())));
    rows
}
