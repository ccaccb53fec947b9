//! What a model says after a prompt, without an SAE: the likeliest tokens, and how it goes on.

use anyhow::Result;
use sae_core::hook::Plan;
use sae_core::model::Batch;
use sae_models::sampling::Sampling;
use sae_models::tokenizer::Tokenizer;
use sae_models::{Decoder, GenerateOptions, StopAt, TestPrompt, Verdict, test_prompt};
use serde::Serialize;

use super::run::RunArgs;
use super::stage;
use crate::show;

/// Tokens of the continuation.
const TOKENS: usize = 20;

/// A prompt and what follows.
#[derive(Serialize)]
struct Answered {
    prompt: String,
    /// The prompt followed by the likeliest token, again and again.
    continued: String,
    /// The judged answers, or the likeliest token where none was given.
    plain: Verdict,
}

impl Answered {
    fn new(model: &Decoder, tokenizer: &Tokenizer, args: &RunArgs) -> Result<Self> {
        let prompt = args.prompt.clone();
        let ids = tokenizer.to_tokens(&prompt, Default::default())?;
        let options = GenerateOptions {
            max_new_tokens: TOKENS,
            stop_at: Some(StopAt::token(tokenizer.special().eos_id)),
            sampling: Sampling { temperature: 0.0, ..Sampling::default() },
            ..GenerateOptions::default()
        };
        let rows = model.generate(&Batch::single(&ids)?, &options, &Plan::new())?;
        let continued = rows.first().map_or(&[][..], Vec::as_slice);
        let likeliest = continued.get(ids.len()).map(|id| tokenizer.to_single_str_token(*id));
        let given = !args.answer.is_empty();
        let what = TestPrompt {
            answers: match given {
                true => args.answer.clone(),
                false => vec![likeliest.transpose()?.unwrap_or_default()],
            },
            prepend_space_to_answer: given,
            top_k: args.top,
            ..TestPrompt::new(prompt.clone(), String::new())
        };
        let plain = test_prompt(model, tokenizer, &what, &Plan::new())?;
        Ok(Self { prompt, continued: tokenizer.to_plain_string(continued)?, plain })
    }
}

pub(crate) fn run(args: &RunArgs, as_json: bool) -> Result<()> {
    let (model, tokenizer) = stage::model(&args.names)?;
    let answered = Answered::new(&model, &tokenizer, args)?;
    if as_json {
        return show::json(&answered);
    }
    let tokens: Vec<String> = answered.plain.prompt_strs.iter().map(|s| show::token(s)).collect();
    show::line(format!("prompt: {}", tokens.join(" ")))?;
    show::line(format!("continued: {}", show::token(&answered.continued)))?;
    let mut table = show::table(&["answer", "rank", "logit", "probability"]);
    let mut top = show::table(&["rank", "token", "logit", "probability"]);
    for step in &answered.plain.steps {
        for a in &step.answers {
            let (rank, logit) = (a.rank.to_string(), format!("{:.3}", a.logit));
            table.add_row([show::token(&a.str), rank, logit, show::percent(a.prob)]);
        }
    }
    for t in answered.plain.steps.first().map_or(&[][..], |step| &step.top) {
        let (rank, logit) = (t.rank.to_string(), format!("{:.3}", t.logit));
        top.add_row([rank, show::token(&t.str), logit, show::percent(t.prob)]);
    }
    if !args.answer.is_empty() {
        show::line(table)?;
    }
    Ok(show::line(top)?)
}
