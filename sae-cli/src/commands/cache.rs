//! `sae cache`: activations of a model on a dataset, written to one file.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use clap::Args;
use sae_core::hook::HookName;
use sae_models::Decoder;
use sae_models::tokenizer::Tokenizer;
use sae_store::tokens::next_rows;
use sae_store::{CacheInfo, CacheWriter, Cached, Harvest, Order};
use serde_json::json;

use super::train::{fields, processing};
use crate::progress::Counted;
use crate::{interrupt, named, show, tokens};

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// The model: a folder, a hub id, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) model: String,
    /// The hook whose activations are wanted.
    #[arg(long, default_value = "blocks.2.hook_resid_pre")]
    pub(crate) hook: String,
    /// The dataset: a .txt, .jsonl or .parquet file, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) dataset: String,
    /// The column of the dataset; `tokens`, `input_ids`, `text` and `problem` are looked for.
    #[arg(long)]
    pub(crate) column: Option<String>,
    /// How many tokens.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) tokens: u64,
    /// Tokens per prompt.
    #[arg(long, default_value_t = 256)]
    pub(crate) context_size: usize,
    /// Prompts per pass of the model.
    #[arg(long, default_value_t = 16)]
    pub(crate) batch_prompts: usize,
    /// Let prompts begin without BOS.
    #[arg(long)]
    pub(crate) no_bos: bool,
    /// Keep the activations at BOS, EOS and padding.
    #[arg(long)]
    pub(crate) keep_special_tokens: bool,
    /// Use the weights as published, without TransformerLens' default processing.
    #[arg(long)]
    pub(crate) no_processing: bool,
    /// The file to write.
    #[arg(long)]
    pub(crate) output: PathBuf,
}

pub(crate) fn cache(args: &CacheArgs, as_json: bool) -> Result<()> {
    let stop = interrupt::flag()?;
    let folder = named::model(&args.model)?;
    let model = Decoder::load(&folder, processing(args.no_processing))?;
    let tokenizer = Arc::new(Tokenizer::load(&folder, args.context_size)?);
    let hook: HookName = args.hook.parse()?;
    let mut harvest = Harvest::at(hook);
    if !args.keep_special_tokens {
        harvest.exclude = tokens::special(&tokenizer);
    }
    let width = harvest.width(&model)?;
    let info = CacheInfo {
        hook,
        width,
        context_size: args.context_size,
        model: format!("{} processed:{}", args.model, !args.no_processing),
        dataset: format!("{} special:{}", args.dataset, args.keep_special_tokens),
    };
    let mut writer = CacheWriter::open(&args.output, info)?;
    let mut dataset = tokens::rows(
        tokens::dataset(&args.dataset, args.column.as_deref())?,
        &tokenizer,
        tokens::packing(&tokenizer, args.context_size, !args.no_bos),
    )?;
    if writer.rows() > 0 {
        eprintln!("going on after {} rows", writer.rows());
    }
    let bar = Counted::new("caching", args.tokens);
    let mut behind = 0u64;
    while behind < args.tokens {
        let prompts = next_rows(&mut dataset, args.batch_prompts.max(1))?;
        let rows = harvest.count(&prompts)? as u64;
        // What an earlier run wrote is not run again: chunks are written whole, or not recorded.
        if behind + rows > writer.rows() {
            let harvested = harvest.run(&model, &prompts)?;
            let values = harvested.rows.flatten_all()?.to_vec1::<f32>()?;
            let left = usize::try_from((args.tokens - behind).min(rows))?;
            writer.append(&values[..left * width])?;
        }
        behind += rows;
        bar.at(behind.min(args.tokens), String::new);
        if stop.load(Ordering::Relaxed) {
            eprintln!("stopped after {} rows; the same command goes on from there", writer.rows());
            return Ok(());
        }
    }
    bar.finish();
    writer.finish()?;
    let cached = Cached::open(&args.output, Order::Written)
        .context("the cache that was just written cannot be read")?;
    let facts = json!({
        "output": args.output, "hook_name": hook.to_string(), "rows": cached.rows(), "width": width,
        "bytes": std::fs::metadata(&args.output)?.len(),
    });
    if as_json { show::json(&facts) } else { Ok(show::line(fields(&facts))?) }
}
