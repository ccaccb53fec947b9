//! `run-with-saes`: SAEs spliced into a model, with every point they add.

use anyhow::Result;
use sae_core::hook::{HookName, Logits, Site};
use sae_core::model::{Batch, CacheOptions, HookedModelExt};
use sae_models::Decoder;
use sae_models::tokenizer::Tokenizer;
use serde_json::Value;

use super::edits;
use super::hooked_forward::is_extra;
use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?;
    let saes = edits::load_saes(case)?;
    let batch = Batch::new(case.tokens("tokens")?)?;
    let plan = edits::plan(case, &saes, &excluded(case)?)?;
    let stop = case.integer("stop_at_layer")?.map(i32::try_from).transpose()?;
    let options =
        CacheOptions { stop_at_layer: stop, logits: Logits::All, ..CacheOptions::default() };
    let (run, cache) = model.run_with_cache(&batch, plan, options)?;
    let mut out = Outputs::default();
    let result = match run.resid() {
        Some(resid) => resid,
        None => run.require_logits()?,
    };
    out.put("result", result.clone());
    let mut hooks = Vec::new();
    for (at, act) in cache.iter() {
        if shown(at) {
            hooks.push(at.to_string());
            out.put(format!("cache.{at}"), act.clone());
        }
    }
    out.put_json("hooks", hooks);
    Ok(out)
}

/// SAELens adds `mlp.hook_in` to TransformerLens' points, and nothing else.
fn shown(at: HookName) -> bool {
    let mlp_in = at.layer().is_some_and(|l| at == HookName::block(l, Site::MlpHookIn));
    mlp_in || at.sae_site().is_some() || !is_extra(&at.to_string())
}

/// The tokens at which SAEs are bypassed.
fn excluded(case: &Case) -> Result<Vec<u32>> {
    match case.param("exclude_special_tokens") {
        Some(Value::Bool(true)) => {
            let tokenizer = Tokenizer::load(&case.model()?, usize::MAX)?;
            let s = tokenizer.special();
            Ok(vec![s.bos_id, s.eos_id, s.pad_id])
        }
        Some(Value::Array(list)) => Ok(list
            .iter()
            .filter_map(Value::as_u64)
            .map(u32::try_from)
            .collect::<Result<_, _>>()?),
        _ => Ok(Vec::new()),
    }
}
