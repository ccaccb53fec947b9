//! `attribution`: gradients times activations at SAEs and hooks.

use anyhow::{Context, Result};
use sae_analysis::attribution::Attribution;
use sae_analysis::{AttributionOptions, attribute};
use sae_core::hook::{HookName, Logits};
use sae_core::model::Batch;
use sae_core::sae::Sae;
use sae_models::Decoder;
use serde_json::{Map, Value};

use super::edits;
use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?;
    let loaded = edits::load_saes(case)?;
    let saes: Vec<&dyn Sae> = loaded.iter().map(|l| l.1.as_ref()).collect();
    let batch = Batch::new(case.tokens("tokens")?)?;
    let track: Vec<String> = serde_json::from_value(case.params["track_hook_points"].clone())?;
    let track: Vec<HookName> = track.iter().map(|t| t.parse()).collect::<Result<_, _>>()?;
    let token = |name: &str| -> Result<usize> {
        Ok(usize::try_from(case.params["metric"][name].as_u64().context("no metric")?)?)
    };
    let (pos, neg) = (token("pos_token")?, token("neg_token")?);
    let use_error_term = case.flag("include_error_term");
    let options = AttributionOptions { use_error_term, track: &track, logits: Logits::All };
    let found = attribute(&model, &batch, &saes, options, |logits| {
        let last = logits.get(0)?.get(logits.dim(1)? - 1)?;
        Ok((last.get(pos)? - last.get(neg)?)?)
    })?;
    let mut out = Outputs::default();
    let want = case.expected("metric")?;
    out.put("metric", found.metric.reshape(want.shape())?);
    for one in &found.saes {
        put(&mut out, "sae", one);
    }
    for one in &found.tracked {
        put(&mut out, "model", one);
    }
    let shares: Map<String, Value> =
        found.error_shares.iter().map(|(at, share)| (at.to_string(), (*share).into())).collect();
    out.put_json("sae_errors_attribution_proportion", shares);
    Ok(out)
}

fn put(out: &mut Outputs, kind: &str, one: &Attribution) {
    let name = format!("{kind}.{}", one.at);
    out.put(format!("{name}.activations"), one.activations.clone());
    out.put(format!("{name}.grads"), one.grads.clone());
    out.put(format!("{name}.attributions"), one.attributions.clone());
}
