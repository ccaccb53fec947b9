//! From what a user calls a dataset to rows of token ids.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sae_core::hook::PosSlice;
use sae_models::tokenizer::{PrependBos, Tokenizer};
use sae_store::dataset::Dataset;
use sae_store::tokens::Documents;
use sae_store::{Cut, PackOptions, Packed, TokenRows};

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

/// Rows of tokens, as SAELens makes them: texts are packed, rows of token ids are cut.
pub(crate) fn rows(
    dataset: Dataset,
    tokenizer: &Arc<Tokenizer>,
    options: PackOptions,
) -> Result<Box<dyn TokenRows>> {
    let tokenizer = Arc::clone(tokenizer);
    let tokenized = dataset.is_tokenized()?;
    let name = dataset.path().display().to_string();
    let open = move || -> sae_store::Result<Documents> {
        let tokenizer = Arc::clone(&tokenizer);
        dataset.tokens(move |text| tokenizer.to_tokens_whole(text, PrependBos::No))
    };
    let mut rows: Box<dyn TokenRows> = match tokenized {
        true => Box::new(Cut::new(open, options.context_size)?),
        false => Box::new(Packed::new(open, options)?),
    };
    if rows.next_row()?.is_none() {
        bail!("{name}: no row of {} tokens; the documents are too short", options.context_size);
    }
    rows.rewind()?;
    Ok(rows)
}

/// Positions as in Python: `5:-5`, `:100`, `0::2`, or `:` for all.
pub(crate) fn positions(text: &str) -> Result<PosSlice> {
    let number = |part: &str| -> Result<Option<isize>> {
        let wrong = || format!("`{text}`: positions are written as in Python, `start:stop:step`");
        (!part.is_empty()).then(|| part.parse().with_context(wrong)).transpose()
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (start, stop, step) = match parts[..] {
        [start, stop] => (number(start)?, number(stop)?, None),
        [start, stop, step] => (number(start)?, number(stop)?, number(step)?),
        _ => bail!("`{text}`: positions are written as in Python, `start:stop:step`"),
    };
    if step.is_some_and(|step| step < 1) {
        bail!("`{text}`: the step must be at least 1");
    }
    Ok(PosSlice::Range { start, stop, step })
}

/// BOS, EOS and padding: the tokens that SAELens calls special.
pub(crate) fn special(tokenizer: &Tokenizer) -> Vec<u32> {
    let special = tokenizer.special();
    let mut ids = vec![special.bos_id, special.eos_id, special.pad_id];
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_written_as_in_python() {
        let of = |start, stop, step| PosSlice::Range { start, stop, step };
        assert_eq!(positions("5:-5").unwrap(), of(Some(5), Some(-5), None));
        assert_eq!(positions(":").unwrap(), of(None, None, None));
        assert_eq!(positions("::2").unwrap(), of(None, None, Some(2)));
        for bad in ["", "5", "a:b", "1:2:0", "1:2:-1", "1:2:3:4"] {
            let error = format!("{:#}", positions(bad).unwrap_err());
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
    }
}
