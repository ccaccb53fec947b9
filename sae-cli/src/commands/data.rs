//! Prompts of a dataset, as several commands want them.

use std::sync::Arc;

use anyhow::Result;
use sae_store::tokens::next_rows;

use super::Stage;
use crate::args::DataArgs;
use crate::tokens;

/// `n` batches of prompts of equal length, from the beginning of the dataset.
pub(crate) fn batches(stage: &Stage, args: &DataArgs, n: usize) -> Result<Vec<Vec<Vec<u32>>>> {
    let dataset = tokens::dataset(&args.dataset, args.column.as_deref())?;
    let tokenizer = Arc::clone(&stage.tokenizer);
    let packing = tokens::packing(&tokenizer, args.context_size, true);
    let mut rows = tokens::rows(dataset, &tokenizer, packing)?;
    (0..n).map(|_| Ok(next_rows(&mut rows, args.batch_prompts.max(1))?)).collect()
}
