//! `test_prompt`: how a model answers a prompt, token by token.

use candle_core::{D, Tensor};
use sae_core::hook::Plan;
use sae_core::model::{Batch, HookedModel};
use serde::Serialize;

use crate::Result;
use crate::tokenizer::{PrependBos, Tokenizer};

/// What to ask; the defaults are TransformerLens'.
#[derive(Clone, Debug)]
pub struct TestPrompt {
    /// The prompt.
    pub prompt: String,
    /// The answers. One: every token of it is judged. Several: the first token of each.
    pub answers: Vec<String>,
    /// Put a space before an answer that has none.
    pub prepend_space_to_answer: bool,
    /// Whether the prompt begins with a BOS token.
    pub prepend_bos: PrependBos,
    /// How many of the likeliest tokens to report.
    pub top_k: usize,
}

impl TestPrompt {
    /// A prompt and its answer.
    pub fn new(prompt: impl Into<String>, answer: impl Into<String>) -> Self {
        Self {
            prompt: prompt.into(),
            answers: vec![answer.into()],
            prepend_space_to_answer: true,
            prepend_bos: PrependBos::Default,
            top_k: 10,
        }
    }
}

/// A token and what the model thought of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Its id.
    pub token: u32,
    /// Its text.
    pub str: String,
    /// How many tokens were likelier.
    pub rank: usize,
    /// Its logit, of the model as processed.
    pub logit: f32,
    /// Its probability.
    pub prob: f32,
}

/// One position of the answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The token of each answer.
    pub answers: Vec<Judged>,
    /// The likeliest tokens after the first answer so far, likeliest first.
    pub top: Vec<Judged>,
}

/// What came of a [`TestPrompt`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The prompt's tokens.
    pub prompt_tokens: Vec<u32>,
    /// The prompt's tokens as texts.
    pub prompt_strs: Vec<String>,
    /// The judged tokens of each answer, as texts.
    pub answer_strs: Vec<Vec<String>>,
    /// One entry per judged position.
    pub steps: Vec<Step>,
}

impl Verdict {
    /// `[(token text, rank)]` per judged position, one entry per answer.
    pub fn ranks(&self) -> Vec<Vec<(String, usize)>> {
        let of = |s: &Step| s.answers.iter().map(|a| (a.str.clone(), a.rank)).collect();
        self.steps.iter().map(of).collect()
    }
}

/// Run prompt and answers once, under `plan` (SAEs and edits included), and judge each token of the
/// answer at the position before it. TransformerLens' `utils.test_prompt`.
///
/// # Errors
/// A text that cannot be tokenised, an empty answer, or a prompt beyond the context.
pub fn test_prompt(
    model: &dyn HookedModel,
    tokenizer: &Tokenizer,
    what: &TestPrompt,
    plan: &Plan<'_>,
) -> Result<Verdict> {
    let prompt = tokenizer.to_tokens(&what.prompt, what.prepend_bos)?;
    let mut answers = Vec::new();
    for answer in &what.answers {
        let space = what.prepend_space_to_answer && !answer.starts_with(' ');
        let text = if space { format!(" {answer}") } else { answer.clone() };
        let mut tokens = tokenizer.to_tokens(&text, PrependBos::No)?;
        if what.answers.len() > 1 {
            tokens.truncate(1);
        }
        if tokens.is_empty() {
            return Err(sae_core::Error::EmptyPrompt.into());
        }
        answers.push(tokens);
    }
    let rows: Vec<Vec<u32>> = answers.iter().map(|a| [prompt.as_slice(), a].concat()).collect();
    let run = model.run(&Batch::rows(&rows)?, plan)?;
    let logits = run.require_logits()?;
    let n_judged = answers.first().map_or(0, Vec::len);
    let mut steps = Vec::with_capacity(n_judged);
    for j in 0..n_judged {
        let at = logits.narrow(1, prompt.len() + j - 1, 1)?.squeeze(1)?;
        steps.push(judge(&at, &answers, j, what.top_k, tokenizer)?);
    }
    let strs = |ids: &[u32]| tokenizer.to_str_tokens(ids);
    Ok(Verdict {
        prompt_strs: strs(&prompt)?,
        answer_strs: answers.iter().map(|a| strs(a)).collect::<Result<_>>()?,
        prompt_tokens: prompt,
        steps,
    })
}

/// `logits`: `[answer, d_vocab]`
fn judge(
    logits: &Tensor,
    answers: &[Vec<u32>],
    j: usize,
    top_k: usize,
    tokenizer: &Tokenizer,
) -> Result<Step> {
    let probs = candle_nn::ops::softmax(logits, D::Minus1)?.to_vec2::<f32>()?;
    let logits = logits.to_vec2::<f32>()?;
    let judged = |row: usize, token: u32, rank: usize| -> Result<Judged> {
        Ok(Judged {
            token,
            str: tokenizer.to_single_str_token(token)?,
            rank,
            logit: logits[row][token as usize],
            prob: probs[row][token as usize],
        })
    };
    let order = |row: usize| {
        let mut ids: Vec<u32> = (0u32..).take(logits[row].len()).collect();
        ids.sort_by(|a, b| logits[row][*b as usize].total_cmp(&logits[row][*a as usize]));
        ids
    };
    let mut scored = Vec::with_capacity(answers.len());
    let mut top = Vec::new();
    for (row, answer) in answers.iter().enumerate() {
        let ids = order(row);
        let rank = ids.iter().position(|id| *id == answer[j]).unwrap_or(ids.len());
        scored.push(judged(row, answer[j], rank)?);
        if row == 0 {
            top = ids
                .iter()
                .take(top_k)
                .enumerate()
                .map(|(r, id)| judged(0, *id, r))
                .collect::<Result<_>>()?;
        }
    }
    Ok(Step { answers: scored, top })
}
