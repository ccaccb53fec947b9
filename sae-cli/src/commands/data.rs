//! Prompts of a dataset, as several commands want them.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use sae_store::tokens::next_rows;

use super::Stage;
use crate::tokens;

#[derive(Debug, Clone, Args)]
pub(crate) struct DataArgs {
    /// The dataset: a .txt, .jsonl or .parquet file, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) dataset: String,
    /// The column of the dataset; `tokens`, `input_ids`, `text` and `problem` are looked for.
    #[arg(long)]
    pub(crate) column: Option<String>,
    /// Tokens per prompt.
    #[arg(long, default_value_t = 128)]
    pub(crate) context_size: usize,
    /// Prompts per pass of the model.
    #[arg(long, default_value_t = 16)]
    pub(crate) batch_prompts: usize,
}

/// `n` batches of prompts of equal length, from the beginning of the dataset.
pub(crate) fn batches(stage: &Stage, args: &DataArgs, n: usize) -> Result<Vec<Vec<Vec<u32>>>> {
    let dataset = tokens::dataset(&args.dataset, args.column.as_deref())?;
    let tokenizer = Arc::clone(&stage.tokenizer);
    let packing = tokens::packing(&tokenizer, args.context_size, true);
    let mut rows = tokens::rows(dataset, &tokenizer, packing)?;
    (0..n).map(|_| Ok(next_rows(&mut rows, args.batch_prompts.max(1))?)).collect()
}
