//! `sae cache`: activations of a model on a dataset, written to one file.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use clap::Args;
use sae_core::hook::HookName;
use sae_core::model::HookedModel;
use sae_models::Processing;
use sae_store::tokens::next_rows;
use sae_store::{CacheInfo, CacheWriter, Cached, Harvest, Order};
use serde_json::json;

use super::stage::Weights;
use super::train::fields;
use crate::progress::Counted;
use crate::{interrupt, show, tokens};

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
    /// Leave out the activations at this token id; repeat it for several.
    #[arg(long, value_name = "ID")]
    pub(crate) exclude_token: Vec<u32>,
    /// Keep only these positions of each prompt, as in Python: `5:-5`, `0::2`.
    #[arg(long, value_name = "START:STOP:STEP", default_value = ":", allow_hyphen_values = true)]
    pub(crate) seqpos_slice: String,
    #[command(flatten)]
    pub(crate) weights: Weights,
    /// The file to write.
    #[arg(long)]
    pub(crate) output: PathBuf,
}

/// Batches without a row after which none is expected any more.
const FRUITLESS: usize = 1000;

/// A dataset and how it became rows, as caches name it.
fn dataset_name(args: &CacheArgs) -> String {
    let mut name = format!("{} special:{}", args.dataset, args.keep_special_tokens);
    if let Some(column) = &args.column {
        name += &format!(" column:{column}");
    }
    if args.no_bos {
        name += " bos:false";
    }
    if args.seqpos_slice != ":" {
        name += &format!(" positions:{}", args.seqpos_slice);
    }
    if !args.exclude_token.is_empty() {
        name += &format!(" without:{:?}", args.exclude_token);
    }
    name
}

pub(crate) fn cache(args: &CacheArgs, as_json: bool) -> Result<()> {
    let stop = interrupt::flag()?;
    let (model, tokenizer) = args.weights.load(&args.model, Processing::DEFAULT)?;
    let hook: HookName = args.hook.parse()?;
    let mut harvest = Harvest::at(hook);
    harvest.positions = tokens::positions(&args.seqpos_slice)?;
    harvest.exclude.clone_from(&args.exclude_token);
    if !args.keep_special_tokens {
        harvest.exclude.extend(tokens::special(&tokenizer));
    }
    if harvest.positions.positions(args.context_size)?.is_empty() {
        bail!("`{}` leaves none of {} positions", args.seqpos_slice, args.context_size);
    }
    let n_ctx = model.spec().n_ctx;
    if args.context_size > n_ctx {
        bail!("--context-size {} is more than the {n_ctx} of `{}`", args.context_size, args.model);
    }
    let width = harvest.width(&model)?;
    let info = CacheInfo {
        hook,
        width,
        context_size: args.context_size,
        model: args.weights.named(&args.model),
        dataset: dataset_name(args),
    };
    let mut dataset = tokens::rows(
        tokens::dataset(&args.dataset, args.column.as_deref())?,
        &tokenizer,
        tokens::packing(&tokenizer, args.context_size, !args.no_bos),
    )?;
    // Nothing is written before there is something to write.
    let batch = args.batch_prompts.max(1);
    let mut prompts = next_rows(&mut dataset, batch).with_context(|| args.dataset.clone())?;
    let mut writer = CacheWriter::open(&args.output, info)?;
    if writer.rows() > args.tokens {
        let (rows, tokens) = (writer.rows(), args.tokens);
        bail!(
            "{}: {rows} rows are written already, {tokens} were asked for",
            args.output.display()
        );
    }
    if writer.rows() > 0 {
        eprintln!("going on after {} rows", writer.rows());
    }
    let bar = Counted::new("caching", args.tokens);
    let (mut behind, mut fruitless) = (0u64, 0);
    while behind < args.tokens {
        let rows = harvest.count(&prompts)? as u64;
        // What an earlier run wrote, perhaps with other numbers of prompts or tokens, is not run again.
        let (from, to) = (writer.rows().saturating_sub(behind), (args.tokens - behind).min(rows));
        if from < to {
            let harvested = harvest.run(&model, &prompts)?;
            let values = harvested.rows.flatten_all()?.to_vec1::<f32>()?;
            let (from, to) = (usize::try_from(from)?, usize::try_from(to)?);
            writer.append(&values[from * width..to * width])?;
        }
        fruitless = if rows == 0 { fruitless + 1 } else { 0 };
        if fruitless == FRUITLESS {
            bail!("{}: every token of {FRUITLESS} batches of prompts is left out", args.dataset);
        }
        behind += rows;
        bar.at(behind.min(args.tokens), String::new);
        if behind >= args.tokens {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            eprintln!("stopped after {} rows; the same command goes on from there", writer.rows());
            return Ok(());
        }
        prompts = next_rows(&mut dataset, batch)?;
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
