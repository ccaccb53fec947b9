//! `sae eval`: how good an SAE is, by SAELens' metrics.

use anyhow::Result;
use clap::Args;
use sae_analysis::figure::Page;
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

/// What the metrics that people look at first mean.
const MEANINGS: [(&str, &str); 10] = [
    (
        "ce_loss_score",
        "share of the model's skill that is left: 1 as without the SAE, 0 as without the layer",
    ),
    ("ce_loss_without_sae", "loss of the model alone, nats per token"),
    ("ce_loss_with_sae", "its loss when it reads the reconstruction"),
    ("kl_div_score", "the same for the predicted distribution"),
    ("explained_variance", "share of the variance that the reconstruction holds"),
    ("cossim", "cosine between activation and reconstruction"),
    ("mse", "mean squared length of what is missing"),
    ("l2_ratio", "length of the reconstruction by that of the activation: below 1 it shrinks"),
    ("l0", "features active per token"),
    ("l1", "sum of activations per token"),
];

/// The metrics, and what they mean.
pub(crate) fn figure(page: Page, found: &Evaluation) -> Result<Page> {
    let all = rows(found)?;
    let row = |(metric, meaning): &(&str, &str)| {
        let value = &all.iter().find(|row| row[1] == *metric)?[2];
        Some(vec![(*metric).into(), value.as_str().into(), (*meaning).into()])
    };
    let rows: Vec<_> = MEANINGS.iter().filter_map(row).collect();
    Ok(page.table(&["metric", "value", "what it is"], &rows))
}

pub(crate) fn table(found: &Evaluation) -> Result<comfy_table::Table> {
    let mut table = show::table(&["group", "metric", "value"]);
    for row in rows(found)? {
        table.add_row(row);
    }
    Ok(table)
}
