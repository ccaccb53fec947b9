//! `tokens`: documents packed into rows.

use anyhow::{Context, Result};
use sae_store::{PackOptions, Packer};
use serde_json::Value;

use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let token =
        |name: &str| Ok::<_, anyhow::Error>(case.integer(name)?.map(u32::try_from).transpose()?);
    let options = PackOptions {
        context_size: usize::try_from(case.integer("context_size")?.context("no context_size")?)?,
        begin_batch: token("begin_batch_token_id")?,
        begin_sequence: token("begin_sequence_token_id")?,
        separator: token("sequence_separator_token_id")?,
        disable_concat: case.flag("disable_concat_sequences"),
        legacy: case.params["era"] == "5.9",
    };
    let ids = |document: &Value| -> Result<Vec<u32>> {
        let list = document.as_array().context("a document must be a list")?;
        list.iter().map(|id| Ok(u32::try_from(id.as_u64().context("a token")?)?)).collect()
    };
    let documents = case.params["docs"].as_array().context("no docs")?;
    let documents = documents.iter().map(ids).collect::<Result<Vec<_>>>()?;
    let rows: Vec<Vec<u32>> = Packer::new(documents.into_iter(), options)?.collect();
    let mut out = Outputs::default();
    out.put_json("rows", rows);
    Ok(out)
}
