//! `sae stats`: how often, how strongly and where features fire.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use sae_analysis::FeatureStats;
use sae_analysis::figure::{Axes, Cell, Page};
use sae_analysis::stats::{Firing, histogram};
use serde::Serialize;

use super::data::DataArgs;
use super::stage::Names;
use super::{Stage, data};
use crate::progress::Counted;
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Features to show; without any, those that fire most strongly.
    #[arg(long)]
    pub(crate) feature: Vec<usize>,
    /// How many of the strongest to show.
    #[arg(long, default_value_t = 10)]
    pub(crate) top: usize,
    /// Contexts to keep of each feature.
    #[arg(long, default_value_t = 5)]
    pub(crate) contexts: usize,
    /// Batches to read.
    #[arg(long, default_value_t = 16)]
    pub(crate) batches: usize,
    /// Write a page with figures here.
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
}

/// Edges and bins of the histogram of `log10` densities; one token in 100,000 is the least that is seen.
const DENSITIES: ((f64, f64), usize) = ((-5.0, 0.0), 40);
/// Tokens shown around the one on which a feature fires.
const AROUND: usize = 8;

/// A feature and where it fires most strongly.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) feature: usize,
    pub(crate) n_active: u64,
    pub(crate) density: f64,
    pub(crate) consistent_activation_heuristic: f64,
    pub(crate) max: f32,
    pub(crate) contexts: Vec<InText>,
}

/// A firing in its text.
#[derive(Serialize)]
pub(crate) struct InText {
    pub(crate) firing: Firing,
    pub(crate) before: String,
    pub(crate) token: String,
    pub(crate) after: String,
}

/// The statistics, and the prompts that they are about.
pub(crate) fn collect(stage: &Stage, args: &StatsArgs) -> Result<(FeatureStats, Vec<Vec<u32>>)> {
    let sae = stage.sae.sae.as_ref();
    let d_sae = sae.spec().d_sae;
    if let Some(feature) = args.feature.iter().find(|f| **f >= d_sae) {
        bail!("feature {feature}: the SAE has features 0 to {}", d_sae - 1);
    }
    let batches = data::batches(stage, &args.data, args.batches)?;
    let mut stats = FeatureStats::new(d_sae, args.contexts);
    let bar = Counted::new("reading", batches.len() as u64);
    for (i, prompts) in batches.iter().enumerate() {
        stats.add(&stage.model, sae, prompts)?;
        bar.at(i as u64 + 1, String::new);
    }
    bar.finish();
    Ok((stats, batches.concat()))
}

/// The features asked for, or the strongest ones.
pub(crate) fn rows(
    stage: &Stage,
    args: &StatsArgs,
    stats: &FeatureStats,
    prompts: &[Vec<u32>],
) -> Result<Vec<Row>> {
    let d_sae = stats.sums.len();
    let features = if args.feature.is_empty() {
        let mut all: Vec<usize> = (0..d_sae).collect();
        all.sort_by(|a, b| stats.max(*b).total_cmp(&stats.max(*a)));
        all.truncate(args.top);
        all
    } else {
        args.feature.clone()
    };
    let density = stats.sparsity.density();
    let cah = stats.sparsity.consistent_activation_heuristic();
    let row = |&feature: &usize| -> Result<Row> {
        let top = stats.top.get(feature).context("a feature that the SAE does not have")?;
        let contexts = top.iter().map(|f| in_text(stage, prompts, *f)).collect::<Result<_>>()?;
        Ok(Row {
            feature,
            n_active: stats.sparsity.active_tokens[feature],
            density: density[feature],
            consistent_activation_heuristic: cah[feature],
            max: stats.max(feature),
            contexts,
        })
    };
    features.iter().map(row).collect()
}

fn in_text(stage: &Stage, prompts: &[Vec<u32>], firing: Firing) -> Result<InText> {
    let prompt = prompts.get(firing.prompt).context("a firing outside the prompts")?;
    let at = firing.position;
    let text = |from: usize, to: usize| stage.tokenizer.to_string(&prompt[from..to]);
    Ok(InText {
        firing,
        before: text(at.saturating_sub(AROUND), at)?,
        token: text(at, at + 1)?,
        after: text(at + 1, (at + 1 + AROUND).min(prompt.len()))?,
    })
}

pub(crate) fn table(rows: &[Row]) -> comfy_table::Table {
    let mut table = show::table(&["feature", "active", "density", "CAH", "max", "strongest"]);
    for row in rows {
        let strongest = row.contexts.first().map_or_else(
            || "never fires here".to_owned(),
            |c| format!("{} >>{}<< {}", c.before, c.token, c.after).replace('\n', " "),
        );
        table.add_row([
            row.feature.to_string(),
            row.n_active.to_string(),
            format!("{:.5}", row.density),
            format!("{:.2}", row.consistent_activation_heuristic),
            format!("{:.3}", row.max),
            strongest,
        ]);
    }
    table
}

/// How many features have which density, and where the chosen ones fire.
pub(crate) fn figure(page: Page, found: &FeatureStats, rows: &[Row]) -> Page {
    let (range, bins) = DENSITIES;
    let densities: Vec<f64> =
        found.sparsity.log10_density().into_iter().filter(|d| *d > range.0).collect();
    let dead = found.sums.len() - densities.len();
    let axes = Axes {
        caption: &format!(
            "How often features fire, on {} tokens ({dead} of {} never do)",
            found.sparsity.tokens(),
            found.sums.len()
        ),
        x: "log10 of the share of tokens on which a feature fires",
        y: "features",
    };
    let contexts: Vec<_> = rows
        .iter()
        .flat_map(|row| {
            row.contexts.iter().map(|c| {
                let flat = |text: &str| text.replace('\n', " ");
                let text = Cell::marked(&flat(&c.before), &flat(&c.token), &flat(&c.after));
                vec![row.feature.to_string().into(), format!("{:.3}", c.firing.value).into(), text]
            })
        })
        .collect();
    page.histogram(axes, range, &histogram(&densities, range, bins))
        .text("Where the strongest features fire most strongly (the token is marked):")
        .table(&["feature", "activation", "in its text"], &contexts)
}

pub(crate) fn stats(args: &StatsArgs, as_json: bool) -> Result<()> {
    let stage = Stage::load(&args.names)?;
    let (found, prompts) = collect(&stage, args)?;
    let rows = rows(&stage, args, &found, &prompts)?;
    if let Some(path) = &args.html {
        let page = Page::new("How often features fire, and where").intro(&format!(
            "{} read by {} on `{}`.",
            stage.called.1, stage.called.0, args.data.dataset
        ));
        show::page(path, &figure(page, &found, &rows))?;
    }
    if as_json {
        return show::json(&rows);
    }
    let (tokens, dead) = (found.sparsity.tokens(), found.dead().len());
    show::line(format!(
        "{tokens} tokens; {dead} of {} features never fire on them",
        found.sums.len()
    ))?;
    Ok(show::line(table(&rows))?)
}
