//! `sae ablate`: what an answer loses when features are set to zero.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use sae_analysis::figure::Page;
use sae_core::hook::{Plan, SaeSite};
use sae_core::sae::{FeatureEdit, SaeExt};
use sae_models::{TestPrompt, test_prompt};
use serde::Serialize;

use super::stage::Names;
use super::{Stage, features};
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct AblateArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    /// The prompt.
    #[arg(long, default_value = super::PROMPT)]
    pub(crate) prompt: String,
    /// The answer; its first token is judged.
    #[arg(long, default_value = super::ANSWER)]
    pub(crate) answer: String,
    /// Features to set to zero, one at a time and all together; without any, the strongest at the last
    /// position.
    #[arg(long)]
    pub(crate) feature: Vec<usize>,
    /// How many of the strongest.
    #[arg(long, default_value_t = 5)]
    pub(crate) top: usize,
    /// Write a page with figures here.
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
}

/// The first answer token in one run.
#[derive(Serialize)]
pub(crate) struct Outcome {
    pub(crate) ablated: String,
    pub(crate) error_term: bool,
    pub(crate) rank: usize,
    pub(crate) logit: f32,
    pub(crate) prob: f32,
}

pub(crate) fn run(stage: &Stage, args: &AblateArgs) -> Result<Vec<Outcome>> {
    let sae = stage.sae.sae.as_ref();
    let at = sae.spec().hook.context("the SAE's cfg.json names no hook")?;
    let chosen = if args.feature.is_empty() {
        // The strongest at the last position, one at a time.
        let strongest = features::find(stage, &args.prompt, -1, args.top, 1)?;
        strongest.into_iter().map(|f| f.feature).collect()
    } else {
        args.feature.clone()
    };
    let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
    sets.extend(chosen.iter().map(|f| vec![*f]));
    if chosen.len() > 1 {
        sets.push(chosen);
    }
    let what = TestPrompt::new(args.prompt.clone(), args.answer.clone());
    let mut found = Vec::new();
    for error_term in [false, true] {
        for set in &sets {
            let edit = FeatureEdit::ablate(set.clone());
            let plan = Plan::new().with_saes(&[sae], error_term)?;
            let plan = plan.intervene(at.sae(SaeSite::ActsPost), edit);
            let verdict = test_prompt(&stage.model, &stage.tokenizer, &what, &plan)?;
            let step = verdict.steps.first().context("the answer has no token")?;
            let answer = step.answers.first().context("the answer has no token")?;
            let names: Vec<String> = set.iter().map(ToString::to_string).collect();
            found.push(Outcome {
                ablated: if set.is_empty() { "nothing".to_owned() } else { names.join(" ") },
                error_term,
                rank: answer.rank,
                logit: answer.logit,
                prob: answer.prob,
            });
        }
    }
    Ok(found)
}

pub(crate) fn table(found: &[Outcome]) -> comfy_table::Table {
    let mut table = show::table(&["ablated", "error term", "rank", "logit", "probability"]);
    for o in found {
        table.add_row([
            o.ablated.clone(),
            if o.error_term { "yes" } else { "no" }.to_owned(),
            o.rank.to_string(),
            format!("{:.3}", o.logit),
            show::percent(o.prob),
        ]);
    }
    table
}

/// What is left of the answer's probability in each run.
pub(crate) fn figure(page: Page, found: &[Outcome]) -> Page {
    [(false, "without the error term"), (true, "with the error term")].into_iter().fold(
        page,
        |page, (error_term, how)| {
            let runs = || found.iter().filter(|o| o.error_term == error_term);
            let labels: Vec<String> = runs().map(|o| format!("{} ablated", o.ablated)).collect();
            let values: Vec<f64> = runs().map(|o| 100.0 * f64::from(o.prob)).collect();
            page.bars(
                &format!("The answer under ablation, {how}"),
                "probability, %",
                &labels,
                &values,
            )
        },
    )
}

pub(crate) fn ablate(args: &AblateArgs, as_json: bool) -> Result<()> {
    let stage = Stage::load(&args.names)?;
    let found = run(&stage, args)?;
    if let Some(path) = &args.html {
        let page = Page::new("What an answer loses without features")
            .intro(&format!("Answer {:?} to the prompt {:?}.", args.answer, args.prompt));
        show::page(path, &figure(page, &found))?;
    }
    if as_json { show::json(&found) } else { Ok(show::line(table(&found))?) }
}
