//! `sae attribute`: which features a prediction depends on.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use sae_analysis::figure::Page;
use sae_analysis::{AttributionOptions, attribute as attribution};
use sae_core::hook::Logits;
use sae_core::model::Batch;
use sae_models::tokenizer::PrependBos;
use serde::Serialize;

use super::Stage;
use super::stage::Names;
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct AttributeArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    /// The prompt.
    #[arg(long, default_value = super::PROMPT)]
    pub(crate) prompt: String,
    /// The answer, a single token.
    #[arg(long, default_value = super::ANSWER)]
    pub(crate) answer: String,
    /// Another single token whose logit is subtracted.
    #[arg(long)]
    pub(crate) against: Option<String>,
    /// Attribute without the error term.
    #[arg(long)]
    pub(crate) no_error_term: bool,
    /// How many to show.
    #[arg(long, default_value_t = 10)]
    pub(crate) top: usize,
    /// Write a page with figures here.
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
}

/// A feature at a position, and what it adds to the logit.
#[derive(Serialize)]
pub(crate) struct Share {
    pub(crate) feature: usize,
    pub(crate) position: usize,
    pub(crate) token: String,
    pub(crate) activation: f32,
    pub(crate) attribution: f32,
}

/// What a prediction depends on.
#[derive(Serialize)]
pub(crate) struct Found {
    /// Logit of the answer, less that of what it is held against.
    pub(crate) metric: f32,
    pub(crate) shares: Vec<Share>,
}

pub(crate) fn run(stage: &Stage, args: &AttributeArgs) -> Result<Found> {
    let tokens = stage.tokenizer.to_tokens(&args.prompt, PrependBos::Default)?;
    let id = |text: &str| -> Result<usize> {
        let spaced = if text.starts_with(' ') { text.to_owned() } else { format!(" {text}") };
        Ok(usize::try_from(stage.tokenizer.to_single_token(&spaced)?)?)
    };
    let answer = id(&args.answer)?;
    let against = args.against.as_deref().map(id).transpose()?;
    let sae = stage.sae.sae.as_ref();
    let batch = Batch::single(&tokens)?;
    let (use_error_term, logits) = (!args.no_error_term, Logits::Last);
    let options = AttributionOptions { use_error_term, logits, ..Default::default() };
    let found = attribution(&stage.model, &batch, &[sae], options, |logits| {
        let last = logits.get(0)?.get(logits.dim(1)? - 1)?;
        let logit = last.get(answer)?;
        Ok(match against {
            Some(against) => (logit - last.get(against)?)?,
            None => logit,
        })
    })?;
    let one = found.saes.first().context("no SAE was attributed")?;
    let rows =
        |t: &candle_core::Tensor| -> Result<Vec<Vec<f32>>> { Ok(t.get(0)?.to_vec2::<f32>()?) };
    let (acts, shares) = (rows(&one.activations)?, rows(&one.attributions)?);
    let mut list = Vec::new();
    for (position, (acts, shares)) in acts.iter().zip(&shares).enumerate() {
        for (feature, (activation, attribution)) in acts.iter().zip(shares).enumerate() {
            if *activation != 0.0 {
                let token = stage.tokenizer.to_single_str_token(tokens[position])?;
                let (activation, attribution) = (*activation, *attribution);
                list.push(Share { feature, position, token, activation, attribution });
            }
        }
    }
    list.sort_by(|a, b| b.attribution.abs().total_cmp(&a.attribution.abs()));
    list.truncate(args.top);
    Ok(Found { metric: found.metric.to_scalar::<f32>()?, shares: list })
}

pub(crate) fn table(found: &Found) -> comfy_table::Table {
    let mut table = show::table(&["feature", "position", "token", "activation", "attribution"]);
    for s in &found.shares {
        table.add_row([
            s.feature.to_string(),
            s.position.to_string(),
            show::token(&s.token),
            format!("{:.4}", s.activation),
            format!("{:+.4}", s.attribution),
        ]);
    }
    table
}

/// What each of the strongest gives to the logit.
pub(crate) fn figure(page: Page, found: &Found) -> Page {
    let label =
        |s: &Share| format!("{} on {} (position {})", s.feature, show::token(&s.token), s.position);
    let labels: Vec<String> = found.shares.iter().map(label).collect();
    let values: Vec<f64> = found.shares.iter().map(|s| f64::from(s.attribution)).collect();
    let caption =
        "Attribution: what the answer's logit would lose without the feature, to first order";
    page.bars(caption, "logit", &labels, &values)
}

pub(crate) fn attribute(args: &AttributeArgs, as_json: bool) -> Result<()> {
    let stage = Stage::load(&args.names)?;
    let found = run(&stage, args)?;
    if let Some(path) = &args.html {
        let page = Page::new("What a prediction depends on")
            .intro(&format!("Answer {:?} to the prompt {:?}.", args.answer, args.prompt));
        show::page(path, &figure(page, &found))?;
    }
    if as_json {
        return show::json(&found);
    }
    show::line(format!("metric: {:.4}", found.metric))?;
    Ok(show::line(table(&found))?)
}
