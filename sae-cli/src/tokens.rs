//! From what a user calls a dataset to rows of token ids.

use std::sync::Arc;

use anyhow::{Context, Result};
use sae_models::tokenizer::{PrependBos, Tokenizer};
use sae_store::dataset::Dataset;
use sae_store::tokens::Documents;
use sae_store::{PackOptions, Packed, TokenRows};

use crate::embedded;

const DEMO: &str = "demo";

/// A dataset by file, or `demo`; `column` if it is not one of those that are looked for.
pub(crate) fn dataset(name: &str, column: Option<&str>) -> Result<Dataset> {
    let dataset = match name {
        DEMO => Dataset::in_memory("demo.parquet", embedded::CORPUS)?,
        path => Dataset::open(path)?,
    };
    Ok(match column {
        Some(column) => dataset.column(column),
        None => dataset,
    })
}

/// SAELens' defaults: rows begin with BOS if wanted, and BOS stands between documents.
pub(crate) fn packing(
    tokenizer: &Tokenizer,
    context_size: usize,
    prepend_bos: bool,
) -> PackOptions {
    let bos = tokenizer.special().bos_id;
    PackOptions {
        context_size,
        begin_batch: prepend_bos.then_some(bos),
        separator: Some(bos),
        ..PackOptions::default()
    }
}

/// Rows of tokens, packed as SAELens packs them.
pub(crate) fn rows(
    dataset: Dataset,
    tokenizer: &Arc<Tokenizer>,
    options: PackOptions,
) -> Result<impl TokenRows + 'static> {
    let tokenizer = Arc::clone(tokenizer);
    let open = move || -> sae_store::Result<Documents> {
        let tokenizer = Arc::clone(&tokenizer);
        dataset.tokens(move |text| tokenizer.to_tokens_whole(text, PrependBos::No))
    };
    Packed::new(open, options).context("the dataset cannot be read")
}

/// BOS, EOS and padding: the tokens that SAELens calls special.
pub(crate) fn special(tokenizer: &Tokenizer) -> Vec<u32> {
    let special = tokenizer.special();
    let mut ids = vec![special.bos_id, special.eos_id, special.pad_id];
    ids.sort_unstable();
    ids.dedup();
    ids
}
