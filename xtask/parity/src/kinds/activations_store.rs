//! `activations-store`: rows of tokens, and the activations of a batch.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use sae_core::hook::PosSlice;
use sae_models::Decoder;
use sae_models::tokenizer::{PrependBos, Tokenizer};
use sae_store::tokens::{Documents, next_rows};
use sae_store::{Harvest, PackOptions, Packed, RowsInMemory, TokenRows};
use sae_train::scale::NormEstimate;
use serde_json::Value;

use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    match case.params["mode"].as_str() {
        Some("tokens") => tokens(case),
        Some("pretokenized") => pretokenized(case),
        Some("activations") => activations(case),
        other => bail!("mode {other:?} is not built"),
    }
}

fn size(case: &Case, name: &str) -> Result<usize> {
    Ok(usize::try_from(case.integer(name)?.with_context(|| format!("no {name}"))?)?)
}

/// The batches that the store yields, `[n_batches, batch, context]`.
fn batches(case: &Case, rows: &mut dyn TokenRows) -> Result<Outputs> {
    let (n, batch) = (size(case, "n_batches")?, size(case, "store_batch_size_prompts")?);
    let found = next_rows(rows, n * batch)?;
    let mut out = Outputs::default();
    let shape = (n, batch, rows.context_size());
    out.put("tokens", Tensor::from_vec(found.concat(), shape, &Device::Cpu)?);
    Ok(out)
}

fn tokens(case: &Case) -> Result<Outputs> {
    let context_size = size(case, "context_size")?;
    let tokenizer = Tokenizer::load(&case.model()?, context_size)?;
    let special = tokenizer.special();
    let separator = match case.param("sequence_separator_token") {
        None => None,
        Some(Value::String(name)) if name == "bos" => Some(special.bos_id),
        Some(Value::String(name)) if name == "eos" => Some(special.eos_id),
        Some(id) => Some(u32::try_from(id.as_u64().context("no separator")?)?),
    };
    let texts = case.params["documents"].as_array().context("no documents")?;
    let documents: Vec<Vec<u32>> = texts
        .iter()
        .map(|t| Ok(tokenizer.to_tokens_whole(t.as_str().context("no text")?, PrependBos::No)?))
        .collect::<Result<_>>()?;
    let options = PackOptions {
        context_size,
        begin_batch: case.flag("prepend_bos").then_some(special.bos_id),
        separator,
        disable_concat: case.flag("disable_concat_sequences"),
        ..PackOptions::default()
    };
    let open = move || Ok(Box::new(documents.clone().into_iter().map(Ok)) as Documents);
    batches(case, &mut Packed::new(open, options)?)
}

fn pretokenized(case: &Case) -> Result<Outputs> {
    let rows = case.tokens("rows")?.to_vec2::<u32>()?;
    batches(case, &mut RowsInMemory::new(rows, size(case, "context_size")?)?)
}

fn activations(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?;
    let prompts = case.tokens("tokens")?.to_vec2::<u32>()?;
    let hook = case.params["hook_name"].as_str().context("no hook_name")?.parse()?;
    let mut harvest = Harvest::at(hook);
    harvest.head = case.integer("hook_head_index")?.map(usize::try_from).transpose()?;
    harvest.positions = positions(case)?;
    let all = harvest.run(&model, &prompts)?;
    harvest.exclude = match case.param("exclude_token_ids") {
        Some(ids) => serde_json::from_value(ids.clone())?,
        None => Vec::new(),
    };
    let filtered = harvest.run(&model, &prompts)?;
    let width = filtered.rows.dim(1)?;
    let mut norms = NormEstimate::default();
    norms.add(&filtered.rows.flatten_all()?.to_vec1::<f32>()?, width);
    let factor = norms.factor(width).context("no rows")?;
    let mut out = Outputs::default();
    out.put("activations", all.rows);
    out.put("filtered", filtered.rows);
    out.put("token_ids", Tensor::new(all.tokens.as_slice(), &Device::Cpu)?);
    if case.expects("scaling_factor") {
        let want = case.expected("scaling_factor")?;
        let value = Tensor::new(&[factor], &Device::Cpu)?.to_dtype(DType::F64)?;
        out.put("scaling_factor", value.reshape(want.shape())?);
    }
    Ok(out)
}

/// The arguments of a Python slice: `[stop]`, `[start, stop]` or `[start, stop, step]`.
fn positions(case: &Case) -> Result<PosSlice> {
    let list = case.params["seqpos_slice"].as_array().context("no seqpos_slice")?;
    let at = |i: usize| -> Result<Option<isize>> {
        Ok(list.get(i).and_then(Value::as_i64).map(isize::try_from).transpose()?)
    };
    let (start, stop, step) = match list.len() {
        1 => (None, at(0)?, None),
        _ => (at(0)?, at(1)?, at(2)?),
    };
    Ok(PosSlice::Range { start, stop, step })
}
