//! `sae pca`: the shape that a few features span, token by token.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use sae_analysis::figure::{Axes, Page};
use sae_analysis::pca::{Pca, pca as components};
use sae_core::model::{Batch, HookedModelExt};
use serde::Serialize;

use super::data::DataArgs;
use super::stage::Names;
use super::{Stage, data, features};
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct PcaArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The features; without any, the five strongest on the last word of the demo's prompt.
    #[arg(long)]
    pub(crate) feature: Vec<usize>,
    /// Batches to read.
    #[arg(long, default_value_t = 2)]
    pub(crate) batches: usize,
    /// Write a page with figures here.
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
}

/// Components that are found; the figure shows the first two.
const COMPONENTS: usize = 3;

/// Principal components, and the tokens at their coordinates.
#[derive(Serialize)]
pub(crate) struct Found {
    features: Vec<usize>,
    tokens: Vec<String>,
    pca: Pca,
}

pub(crate) fn run(stage: &Stage, args: &PcaArgs) -> Result<Found> {
    let sae = stage.sae.sae.as_ref();
    let at = sae.spec().hook.context("the SAE's cfg.json names no hook")?;
    let chosen = if args.feature.is_empty() {
        let strongest = features::find(stage, super::PROMPT, -1, 5, 1)?;
        strongest.into_iter().map(|f| f.feature).collect()
    } else {
        args.feature.clone()
    };
    let prompts = data::batches(stage, &args.data, args.batches)?.concat();
    let acts = stage.model.activations(&Batch::rows(&prompts)?, at)?;
    let (codes, _) = sae.encode_sparse(&acts.contiguous()?)?;
    let pca = components(sae, &codes, &chosen, COMPONENTS)?;
    let ids = prompts.concat();
    let token = |row: &usize| Ok(stage.tokenizer.to_single_str_token(ids[*row])?);
    let tokens = pca.rows.iter().map(token).collect::<Result<_>>()?;
    Ok(Found { features: chosen, tokens, pca })
}

/// Tokens on the first two components.
pub(crate) fn figure(page: Page, found: &Found) -> Page {
    let at = |row: &Vec<f64>, i: usize| row.get(i).copied().unwrap_or(0.0);
    let points: Vec<(f64, f64)> =
        found.pca.embedding.iter().map(|row| (at(row, 0), at(row, 1))).collect();
    let name = |i: usize| {
        let share = found.pca.explained_variance_ratio.get(i).copied().unwrap_or(0.0);
        format!("component {} ({:.1} % of the variance)", i + 1, 100.0 * share)
    };
    let caption = "Tokens on which one of the features fires; the pointer shows which token";
    let axes = Axes { caption, x: &name(0), y: &name(1) };
    page.scatter(axes, &found.tokens, &points)
}

pub(crate) fn table(found: &Found) -> comfy_table::Table {
    let mut table = show::table(&["component", "variance", "share", "lowest", "highest"]);
    for i in 0..found.pca.components.len() {
        let mut order: Vec<usize> = (0..found.tokens.len()).collect();
        order.sort_by(|a, b| found.pca.embedding[*a][i].total_cmp(&found.pca.embedding[*b][i]));
        let words = |rows: &mut dyn Iterator<Item = &usize>| {
            rows.take(5).map(|r| show::token(&found.tokens[*r])).collect::<Vec<_>>().join(" ")
        };
        table.add_row([
            (i + 1).to_string(),
            format!("{:.4}", found.pca.explained_variance[i]),
            format!("{:.1} %", 100.0 * found.pca.explained_variance_ratio[i]),
            words(&mut order.iter()),
            words(&mut order.iter().rev()),
        ]);
    }
    table
}

pub(crate) fn pca(args: &PcaArgs, as_json: bool) -> Result<()> {
    let stage = Stage::load(&args.names)?;
    let found = run(&stage, args)?;
    if let Some(path) = &args.html {
        let names: Vec<String> = found.features.iter().map(ToString::to_string).collect();
        let page = Page::new("The shape that a few features span").intro(&format!(
            "What features {} write together, token by token, reduced to principal components. Tokens \
             that lie together are alike to these features.",
            names.join(", ")
        ));
        show::page(path, &figure(page, &found))?;
    }
    if as_json {
        return show::json(&found);
    }
    let names: Vec<String> = found.features.iter().map(ToString::to_string).collect();
    show::line(format!("features {}; {} tokens", names.join(" "), found.tokens.len()))?;
    Ok(show::line(table(&found))?)
}
