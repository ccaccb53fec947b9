//! `sae run`: a prompt and its answer, plain, with the SAE, and with SAE and error term.

use anyhow::{Result, bail};
use clap::Args;
use sae_analysis::figure::Page;
use sae_core::hook::Plan;
use sae_core::sae::SaeExt;
use sae_models::{TestPrompt, Verdict, test_prompt};
use serde::Serialize;

use super::stage::Names;
use super::{Stage, answer};
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    /// The prompt.
    #[arg(long, default_value = super::PROMPT)]
    pub(crate) prompt: String,
    /// The answer to judge; repeat it to compare the first tokens of several. With an SAE `earth` if
    /// none is given.
    #[arg(long)]
    pub(crate) answer: Vec<String>,
    /// How many of the likeliest tokens to show.
    #[arg(long, default_value_t = 10)]
    pub(crate) top: usize,
}

/// What the answer has in each run, and what is likeliest beside it.
pub(crate) fn figure(page: Page, compared: &Compared) -> Page {
    let answers = compared.columns().into_iter().filter_map(|(name, verdict)| {
        let a = verdict.steps.first()?.answers.first()?;
        let (rank, logit) = (a.rank.to_string(), format!("{:.3}", a.logit));
        let cells = [name.to_owned(), show::token(&a.str), rank, logit, show::percent(a.prob)];
        Some(cells.map(Into::into).to_vec())
    });
    let tops: Vec<_> = compared.columns().into_iter().filter_map(|c| c.1.steps.first()).collect();
    let n = tops.iter().map(|step| step.top.len()).min().unwrap_or(0);
    let row = |rank: usize| {
        let cell =
            |t: &sae_models::Judged| format!("{} {}", show::token(&t.str), show::percent(t.prob));
        let cells = tops.iter().map(|step| cell(&step.top[rank]).into());
        std::iter::once(rank.to_string().into()).chain(cells).collect()
    };
    page.table(&["run", "answer", "rank", "logit", "probability"], &answers.collect::<Vec<_>>())
        .text("The likeliest next tokens of each run:")
        .table(
            &["rank", "plain", "with SAE", "SAE + error term"],
            &(0..n).map(row).collect::<Vec<_>>(),
        )
}

/// The three ways of running.
#[derive(Serialize)]
pub(crate) struct Compared {
    /// The model alone.
    pub(crate) plain: Verdict,
    /// The SAE in place of what it reads.
    pub(crate) with_sae: Verdict,
    /// The SAE plus its error: the same as plain.
    pub(crate) with_error_term: Verdict,
}

impl Compared {
    pub(crate) fn run(stage: &Stage, what: &TestPrompt) -> Result<Self> {
        let sae = stage.sae.sae.as_ref();
        let judge = |plan: &Plan<'_>| test_prompt(&stage.model, &stage.tokenizer, what, plan);
        Ok(Self {
            plain: judge(&Plan::new())?,
            with_sae: judge(&Plan::new().with_saes(&[sae], false)?)?,
            with_error_term: judge(&Plan::new().with_saes(&[sae], true)?)?,
        })
    }

    pub(crate) fn columns(&self) -> [(&'static str, &Verdict); 3] {
        [
            ("plain", &self.plain),
            ("with SAE", &self.with_sae),
            ("SAE + error term", &self.with_error_term),
        ]
    }

    /// The answer tokens, one row each.
    pub(crate) fn answers_table(&self) -> comfy_table::Table {
        let mut table = show::table(&["answer", "run", "rank", "logit", "probability"]);
        for (j, step) in self.plain.steps.iter().enumerate() {
            for i in 0..step.answers.len() {
                for (name, verdict) in self.columns() {
                    let a = &verdict.steps[j].answers[i];
                    let (rank, logit) = (a.rank.to_string(), format!("{:.3}", a.logit));
                    let prob = show::percent(a.prob);
                    table.add_row([show::token(&a.str), name.to_owned(), rank, logit, prob]);
                }
            }
        }
        table
    }

    /// The likeliest tokens at the first judged position, side by side.
    pub(crate) fn top_table(&self) -> comfy_table::Table {
        let mut table = show::table(&["rank", "plain", "with SAE", "SAE + error term"]);
        let Some(first) = self.plain.steps.first() else { return table };
        for rank in 0..first.top.len() {
            let mut row = vec![rank.to_string()];
            for (_, verdict) in self.columns() {
                let t = &verdict.steps[0].top[rank];
                row.push(format!("{} {}", show::token(&t.str), show::percent(t.prob)));
            }
            table.add_row(row);
        }
        table
    }
}

pub(crate) fn run(args: &RunArgs, as_json: bool) -> Result<()> {
    if args.names.sae().is_none() {
        return answer::run(args, as_json);
    }
    let stage = Stage::load(&args.names)?;
    let what = TestPrompt {
        answers: if args.answer.is_empty() {
            vec![super::ANSWER.to_owned()]
        } else {
            args.answer.clone()
        },
        top_k: args.top,
        ..TestPrompt::new(args.prompt.clone(), String::new())
    };
    if let Some(answer) = args.answer.iter().find(|a| a.trim().is_empty()) {
        bail!("answer {answer:?}: expected at least one word to judge");
    }
    let compared = Compared::run(&stage, &what)?;
    if as_json {
        return show::json(&compared);
    }
    let tokens: Vec<String> = compared.plain.prompt_strs.iter().map(|s| show::token(s)).collect();
    show::line(format!("prompt: {}", tokens.join(" ")))?;
    show::line(compared.answers_table())?;
    Ok(show::line(compared.top_table())?)
}
