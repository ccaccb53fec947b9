//! Edits of latents and SAEs of a case, as several kinds write them.

use anyhow::{Context, Result, bail};
use sae_core::hook::{HookName, Plan, PosSlice};
use sae_core::sae::{FeatureEdit, FeatureOp, Sae, Splice};
use sae_core::sae_lens::{LoadOptions, load};
use serde_json::Value;

use crate::case::Case;

/// The SAEs of a case, each with the hook it belongs to.
pub(crate) fn load_saes(case: &Case) -> Result<Vec<(HookName, Box<dyn Sae>)>> {
    case.saes()?
        .into_iter()
        .map(|(hook, folder)| Ok((hook.parse()?, load(&folder, LoadOptions::default())?.sae)))
        .collect()
}

/// A plan with the SAEs spliced in and `params.interventions` made.
pub(crate) fn plan<'a>(
    case: &Case,
    saes: &'a [(HookName, Box<dyn Sae>)],
    exclude: &[u32],
) -> Result<Plan<'a>> {
    let mut plan = Plan::new();
    for (at, sae) in saes {
        let splice = Splice::new(sae.as_ref())
            .use_error_term(case.flag("use_error_term"))
            .exclude_tokens(exclude.to_vec());
        // A transcoder is named by what it reads, and stands where it writes.
        let at = sae.spec().splice_at().unwrap_or(*at);
        plan = plan.intervene(at, splice);
    }
    for edit in case.param("interventions").and_then(Value::as_array).into_iter().flatten() {
        let at: HookName =
            edit["hook"].as_str().context("an intervention without hook")?.parse()?;
        plan = plan.intervene(at, feature_edit(edit)?);
    }
    Ok(plan)
}

/// One edit: `feature` or `features`, `op`, `value`, maybe `positions`.
pub(crate) fn feature_edit(edit: &Value) -> Result<FeatureEdit> {
    let index = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
    let features: Vec<usize> = match edit["features"].as_array() {
        Some(list) => list.iter().filter_map(index).collect(),
        None => vec![index(&edit["feature"]).context("an edit without feature")?],
    };
    let value = edit["value"].as_f64();
    let op = match (edit["op"].as_str(), value) {
        (Some("zero"), _) => FeatureOp::Set(0.0),
        (Some("set"), Some(v)) => FeatureOp::Set(v),
        (Some("add"), Some(v)) => FeatureOp::Add(v),
        (Some("scale"), Some(v)) => FeatureOp::Scale(v),
        other => bail!("edit {other:?} is not understood"),
    };
    let position = |v: &Value| v.as_i64().and_then(|n| isize::try_from(n).ok());
    let positions = match edit["positions"].as_array() {
        Some(list) => PosSlice::Indices(list.iter().filter_map(position).collect()),
        None => PosSlice::All,
    };
    Ok(FeatureEdit::new(features, op).only_at(positions))
}
