//! `sae eval`: how good an SAE is, by SAELens' metrics.

use anyhow::Result;
use clap::Args;
use sae_analysis::{EvalData, Evaluation, evaluate};
use serde_json::Value;

use super::data::DataArgs;
use super::stage::Names;
use super::{Stage, data};
use crate::{show, tokens};

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Batches for the model's predictions.
    #[arg(long, default_value_t = 2)]
    pub(crate) reconstruction_batches: usize,
    /// Batches for activations alone.
    #[arg(long, default_value_t = 4)]
    pub(crate) sparsity_batches: usize,
    /// Count BOS, EOS and padding too.
    #[arg(long)]
    pub(crate) all_tokens: bool,
}

pub(crate) fn eval(args: &EvalArgs, as_json: bool) -> Result<()> {
    let stage = Stage::load(&args.names)?;
    let found = run(&stage, args)?;
    if as_json {
        return show::json(&found);
    }
    Ok(show::line(table(&found)?)?)
}

pub(crate) fn run(stage: &Stage, args: &EvalArgs) -> Result<Evaluation> {
    let (n, m) = (args.reconstruction_batches, args.sparsity_batches);
    let all = data::batches(stage, &args.data, n + m)?;
    let (reconstruction, sparsity_variance) = all.split_at(n);
    let exclude = if args.all_tokens { Vec::new() } else { tokens::special(&stage.tokenizer) };
    let data = EvalData { reconstruction, sparsity_variance, exclude: &exclude };
    Ok(evaluate(&stage.model, stage.sae.sae.as_ref(), data)?)
}

/// Group, metric and value.
pub(crate) fn rows(found: &Evaluation) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for (group, metrics) in serde_json::to_value(found)?.as_object().into_iter().flatten() {
        for (metric, value) in metrics.as_object().into_iter().flatten() {
            let text = match value {
                Value::Number(n) if n.is_u64() => n.to_string(),
                other => other.as_f64().map_or_else(|| "NaN".to_owned(), |v| format!("{v:.5}")),
            };
            rows.push(vec![group.clone(), metric.clone(), text]);
        }
    }
    Ok(rows)
}

pub(crate) fn table(found: &Evaluation) -> Result<comfy_table::Table> {
    let mut table = show::table(&["group", "metric", "value"]);
    for row in rows(found)? {
        table.add_row(row);
    }
    Ok(table)
}
