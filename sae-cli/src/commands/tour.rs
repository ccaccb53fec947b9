//! The rest of the tour: how good the SAE is, what its features mean and do, and an SAE of one's own.
//!
//! Everything said on the terminal is also on a page, with figures and the data beside them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Parser;
use sae_analysis::figure::Page;
use sae_analysis::stats::histogram;
use sae_core::io::write_atomic;

use super::features::Feature;
use super::run::Compared;
use super::{Stage, ablate, attribute, eval, stats, steer, train};
use crate::args::{Args, Command};
use crate::show;

/// Rows that the small SAE is trained on.
const TOKENS: &str = "120000";
/// Edges and bins of the histogram of `log10` densities.
const DENSITIES: ((f64, f64), usize) = ((-10.0, 0.0), 40);

/// A command with its defaults.
fn defaults(words: &[&str]) -> Result<Command> {
    let line = std::iter::once("sae").chain(words.iter().copied());
    Ok(Args::try_parse_from(line)?.command)
}

fn say(page: Page, number: usize, heading: &str, text: &str) -> Result<Page> {
    show::line(format!("\n{number}. {heading}\n   {text}\n"))?;
    Ok(page.section(&format!("{number}. {heading}"), text))
}

/// The page after the first stage.
pub(crate) fn begin(compared: &Compared, strongest: &[Feature]) -> Page {
    let page = Page::new("A tour of one sparse autoencoder").section(
        "1 to 4. The model with the SAE spliced in",
        "With the SAE in place of what it reads the answer should stay likely; with its error term \
         nothing may change. The features are those that fire on the last word.",
    );
    let rows: Vec<Vec<String>> = compared
        .columns()
        .iter()
        .filter_map(|(name, verdict)| {
            let answer = verdict.steps.first()?.answers.first()?;
            let (rank, prob) = (answer.rank.to_string(), show::percent(answer.prob));
            Some(vec![(*name).to_owned(), answer.str.clone(), rank, prob])
        })
        .collect();
    let labels: Vec<String> = strongest.iter().map(|f| f.feature.to_string()).collect();
    let values: Vec<f64> = strongest.iter().map(|f| f64::from(f.activation)).collect();
    page.table(&["run", "answer", "rank", "probability"], &rows).bars(
        "Strongest features on the last word",
        &labels,
        &values,
    )
}

/// Stages 2 and 3 of the workshop; with `output`, an SAE is trained there and the page is written.
pub(crate) fn tour(stage: &Stage, mut page: Page, output: Option<&Path>) -> Result<()> {
    page = evaluation(stage, page)?;
    page = statistics(stage, page)?;
    page = causes(stage, page)?;
    let Some(output) = output else { return Ok(()) };
    page = training(page, output)?;
    let path = output.join("index.html");
    write_atomic(&path, page.html().as_bytes())?;
    Ok(show::line(format!("\nThe tour with its figures: {}", path.display()))?)
}

fn evaluation(stage: &Stage, page: Page) -> Result<Page> {
    let page = say(
        page,
        5,
        "How good is it?",
        "SAELens' metrics on the text that model and SAE were trained on: how much of the variance it \
         explains,\n   how many features it needs, and what the model loses when it reads the \
         reconstruction instead.",
    )?;
    let Command::Eval(args) = defaults(&["eval"])? else { bail!("no evaluation") };
    let found = eval::run(stage, &args)?;
    show::line(eval::table(&found)?)?;
    Ok(page.table(&["group", "metric", "value"], &eval::rows(&found)?))
}

fn statistics(stage: &Stage, page: Page) -> Result<Page> {
    let mut page = say(
        page,
        6,
        "What do features mean?",
        "One pass over the text: how often each feature fires, and where most strongly. A feature that \
         fires on few\n   tokens, and on the same ones again and again, is one that can be understood.",
    )?;
    let Command::Stats(args) = defaults(&["stats", "--top", "8"])? else { bail!("no statistics") };
    let (found, prompts) = stats::collect(stage, &args)?;
    let rows = stats::rows(stage, &args, &found, &prompts)?;
    show::line(stats::table(&rows))?;
    let (range, bins) = DENSITIES;
    let counts = histogram(&found.sparsity.log10_density(), range, bins);
    let width = (range.1 - range.0) / f64::from(u32::try_from(bins)?);
    let edge = |i: usize| range.0 + width * f64::from(u32::try_from(i).unwrap_or(u32::MAX));
    let labels: Vec<String> = (0..bins).map(|i| format!("from {:.2}", edge(i))).collect();
    let values: Vec<f64> =
        counts.iter().map(|c| u32::try_from(*c).map_or(f64::NAN, f64::from)).collect();
    page = page.bars("Features by log10 of their density", &labels, &values);
    let contexts: Vec<Vec<String>> = rows
        .iter()
        .flat_map(|row| {
            row.contexts.iter().map(|c| {
                let text = format!("{} [{}] {}", c.before, c.token, c.after);
                vec![row.feature.to_string(), format!("{:.3}", c.firing.value), text]
            })
        })
        .collect();
    Ok(page.table(&["feature", "activation", "in its text"], &contexts))
}

fn causes(stage: &Stage, page: Page) -> Result<Page> {
    let page = say(
        page,
        7,
        "What does a prediction depend on?",
        "Gradient times activation of every feature, to first order what the logit would lose without \
         it;\n   and what it does lose when the strongest are set to zero.",
    )?;
    let Command::Attribute(args) = defaults(&["attribute"])? else { bail!("no attribution") };
    let found = attribute::run(stage, &args)?;
    show::line(attribute::table(&found))?;
    let label = |s: &attribute::Share| format!("{} at {:?} ({})", s.feature, s.token, s.position);
    let labels: Vec<String> = found.shares.iter().map(label).collect();
    let values: Vec<f64> = found.shares.iter().map(|s| f64::from(s.attribution)).collect();
    let page = page.bars("Attribution to the answer's logit", &labels, &values);
    let Command::Ablate(args) = defaults(&["ablate", "--top", "3"])? else { bail!("no ablation") };
    let outcomes = ablate::run(stage, &args)?;
    show::line(ablate::table(&outcomes))?;
    let labels: Vec<String> = outcomes
        .iter()
        .map(|o| format!("without {}, error term {}", o.ablated, o.error_term))
        .collect();
    let values: Vec<f64> = outcomes.iter().map(|o| f64::from(o.prob)).collect();
    let page = page.bars("Probability of the answer under ablation", &labels, &values);

    let page = say(
        page,
        8,
        "Steering",
        "The same feature's direction added to the stream at every step: the model talks about what \
         the\n   feature stands for.",
    )?;
    let Command::Steer(args) = defaults(&["steer"])? else { bail!("no steering") };
    let found = steer::run(stage, &args)?;
    show::line(format!("plain:   {}\nsteered: {}", found.plain, found.steered))?;
    let rows =
        [vec!["plain".to_owned(), found.plain.clone()], vec!["steered".to_owned(), found.steered]];
    Ok(page.table(&["run", "text"], &rows))
}

fn training(page: Page, output: &Path) -> Result<Page> {
    let page = say(
        page,
        9,
        "An SAE of one's own",
        "A small TopK SAE, trained on the running model with SAELens' losses; it is written as a \
         SAELens folder.",
    )?;
    let folder = output.join("sae").display().to_string();
    let line = ["train", "--tokens", TOKENS, "--output", &folder];
    let Command::Train(args) = defaults(&line)? else { bail!("no training") };
    train::train(&args, false)?;
    let metrics = Path::new(&folder).join("metrics.jsonl");
    let text = std::fs::read_to_string(&metrics).with_context(|| metrics.display().to_string())?;
    let losses: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|v| Some((v["step"].as_f64()?, v["losses/mse_loss"].as_f64()?)))
        .collect();
    let labels: Vec<String> = losses.iter().map(|(step, _)| format!("step {step}")).collect();
    Ok(page.scatter("Squared error by step", &labels, &losses))
}
