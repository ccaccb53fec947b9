//! `generate`: greedy continuation, with steering.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use sae_core::hook::{Add, HookName, Plan, Site};
use sae_core::model::{Batch, HookedModel};
use sae_core::sae::Sae;
use sae_models::tokenizer::{PrependBos, Tokenizer};
use sae_models::{Decoder, GenerateOptions, StopAt};
use serde_json::Value;

use super::{edits, sampling_distribution};
use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?;
    let tokenizer = Tokenizer::load(&case.model()?, model.spec().n_ctx).ok();
    let saes = edits::load_saes(case)?;
    let options = GenerateOptions {
        max_new_tokens: usize::try_from(case.integer("max_new_tokens")?.unwrap_or(10))?,
        stop_at: stop_at(case, tokenizer.as_ref())?,
        sampling: sampling_distribution::sampling(case)?,
        use_past_kv_cache: case.flag("use_past_kv_cache"),
    };
    let text = case.param("text").and_then(Value::as_str);
    let prompts = match text {
        None => Batch::new(case.tokens("tokens")?)?,
        Some(text) => {
            let bos = PrependBos::from(case.param("prepend_bos").and_then(Value::as_bool));
            Batch::single(&tokenizer.as_ref().context("no tokenizer")?.to_tokens(text, bos)?)?
        }
    };
    let rows = model.generate(&prompts, &options, &steering(case, &saes)?)?;
    let mut out = Outputs::default();
    match (text, tokenizer) {
        (Some(_), Some(t)) => out.put_json("text", t.to_plain_string(&rows[0])?),
        _ => out.put("tokens", Tensor::new(rows, &Device::Cpu)?.to_dtype(DType::I64)?),
    }
    Ok(out)
}

fn stop_at(case: &Case, tokenizer: Option<&Tokenizer>) -> Result<Option<StopAt>> {
    if !case.flag("stop_at_eos") {
        return Ok(None);
    }
    let eos = || Ok::<u32, anyhow::Error>(tokenizer.context("no tokenizer")?.special().eos_id);
    Ok(Some(match case.param("eos_token_id") {
        None => StopAt::token(eos()?),
        Some(Value::Array(list)) => {
            let tokens = list.iter().filter_map(Value::as_u64).map(u32::try_from);
            StopAt { tokens: tokens.collect::<Result<_, _>>()?, fill: eos()? }
        }
        Some(id) => StopAt::token(u32::try_from(id.as_u64().context("eos_token_id")?)?),
    }))
}

/// A vector, or a feature's decoder row, added at every position of every step.
fn steering<'a>(case: &Case, saes: &'a [(HookName, Box<dyn Sae>)]) -> Result<Plan<'a>> {
    let Some(steering) = case.param("steering") else { return Ok(Plan::new()) };
    let at: HookName = steering["hook"].as_str().context("steering without hook")?.parse()?;
    let strength = steering["strength"].as_f64().context("steering without strength")?;
    let vector = match steering["sae_feature"].as_u64() {
        None => (case.input("steering_vector")? * strength)?,
        Some(feature) => {
            let (_, sae) = saes.first().context("steering by feature needs an SAE")?;
            let max_act = steering["max_act"].as_f64().context("steering without max_act")?;
            let row = sae.decoder().get(usize::try_from(feature)?)?;
            let row = if at.layer().is_some_and(|l| at == HookName::block(l, Site::Z)) {
                let model = Decoder::load(&case.model()?, case.processing())?;
                row.reshape((model.spec().n_heads, model.spec().d_head))?
            } else {
                row
            };
            (row * (max_act * strength))?
        }
    };
    Ok(Plan::new().intervene(at, Add(vector)))
}
