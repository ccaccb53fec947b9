//! `cache-options`: names filters, position slices, early stop, late start, cached keys and values.

use anyhow::{Result, bail};
use sae_core::hook::{HookName, Logits, NamesFilter, Plan, PosSlice};
use sae_core::model::{Batch, CacheOptions, HookedModel, cache_plan};
use sae_models::{Decoder, KvCache, loss, loss_per_token};
use serde_json::Value;

use super::hooked_forward::{apply_gain, is_extra};
use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?;
    let return_type = case.param("return_type").and_then(Value::as_str);
    let stop = case.integer("stop_at_layer")?.map(i32::try_from).transpose()?;
    let options = CacheOptions {
        names: NamesFilter::Predicate(Box::new(|at| admits(case, at))),
        pos_slice: pos_slice(case)?,
        remove_batch_dim: case.flag("remove_batch_dim"),
        stop_at_layer: stop,
        logits: if return_type.is_some() { Logits::All } else { Logits::Skip },
    };
    let plan = cache_plan(&model, Plan::new(), &options)?;
    let (run, batch) = if let Some(start) = case.integer("start_at_layer")? {
        let start = i32::try_from(start)?;
        let plan = after(&model, start, &options)?;
        (model.resume(&case.input("residual")?, start, None, &plan)?, None)
    } else {
        let tokens = case.tokens("tokens")?;
        match case.integer("past")? {
            None => {
                let batch = Batch::new(tokens)?;
                (model.run(&batch, &plan)?, Some(batch))
            }
            Some(past) => {
                let past = usize::try_from(past)?;
                let mut cache = KvCache::new(model.spec());
                let first = Batch::new(tokens.narrow(1, 0, past)?)?;
                model.run_with_past(&first, &mut cache, &Plan::new().logits(Logits::Skip))?;
                let rest = Batch::new(tokens.narrow(1, past, tokens.dim(1)? - past)?)?;
                (model.run_with_past(&rest, &mut cache, &plan)?, Some(rest))
            }
        }
    };
    let mut out = Outputs::default();
    let result = match (stop, return_type, run.resid(), &batch) {
        (Some(_), _, Some(resid), _) => Some(resid.clone()),
        (_, Some("logits"), ..) => Some(run.require_logits()?.clone()),
        (_, Some("loss"), _, Some(batch)) => Some(loss(run.require_logits()?, batch)?),
        (_, Some("loss_per_token"), _, Some(batch)) => {
            Some(loss_per_token(run.require_logits()?, batch)?)
        }
        (_, None, ..) => None,
        other => bail!("return_type {:?} is not understood here", other.1),
    };
    if let Some(result) = result.filter(|_| case.expects("result")) {
        out.put("result", result);
    }
    let cache = sae_core::hook::ActivationCache::new(run.captured().to_vec());
    let cache = if options.remove_batch_dim { cache.remove_batch_dim()? } else { cache };
    let mut hooks = Vec::new();
    for (at, act) in cache.iter() {
        // Where norms are not folded, TransformerLens 2.17 shows them after gain and bias.
        out.put(format!("cache.{at}"), apply_gain(&model, at, act)?);
        hooks.push(at.to_string());
    }
    out.put_json("hooks", hooks);
    Ok(out)
}

/// The plan of a run that starts at a layer: nothing before it fires.
fn after<'a>(model: &Decoder, start: i32, options: &CacheOptions<'_>) -> Result<Plan<'a>> {
    let n_layers = model.spec().n_layers;
    let start = Plan::new().stop_at_layer(start).stop_layer(n_layers)?.unwrap_or(0);
    let stop = match options.stop_at_layer {
        Some(stop) => Plan::new().stop_at_layer(stop).stop_layer(n_layers)?,
        None => None,
    };
    let fires = |at: &HookName| match at.layer() {
        Some(layer) => layer >= start && stop.is_none_or(|stop| layer < stop),
        None => stop.is_none() && !matches!(*at, HookName::EMBED | HookName::POS_EMBED),
    };
    let names = model.places().into_iter().filter(|at| fires(at) && options.names.admits(*at));
    let mut plan = Plan::new().capture_all(names.collect::<Vec<_>>());
    plan = plan.pos_slice(options.pos_slice.clone()).logits(options.logits);
    Ok(match options.stop_at_layer {
        Some(stop) => plan.stop_at_layer(stop),
        None => plan,
    })
}

fn admits(case: &Case, at: HookName) -> bool {
    let name = at.to_string();
    if is_extra(&name) {
        return false;
    }
    let Some(filter) = case.param("names_filter") else { return true };
    let any = |field: &str, holds: &dyn Fn(&str) -> bool| {
        filter[field].as_array().map(|list| list.iter().filter_map(Value::as_str).any(holds))
    };
    if let Some(equals) = filter["equals"].as_str() {
        return name == equals;
    }
    any("in", &|n| name == n)
        .or_else(|| any("endswith", &|n| name.ends_with(n)))
        .or_else(|| any("not_endswith", &|n| name.ends_with(n)).map(|ends| !ends))
        .unwrap_or(true)
}

fn pos_slice(case: &Case) -> Result<PosSlice> {
    let Some(slice) = case.param("pos_slice") else { return Ok(PosSlice::All) };
    let number = |v: &Value| v.as_i64().and_then(|n| isize::try_from(n).ok());
    if let Some(at) = number(slice) {
        return Ok(PosSlice::At(at));
    }
    if let Some(list) = slice["indices"].as_array() {
        return Ok(PosSlice::Indices(list.iter().filter_map(number).collect()));
    }
    let part = |name: &str| number(&slice[name]);
    Ok(PosSlice::Range { start: part("start"), stop: part("stop"), step: part("step") })
}
