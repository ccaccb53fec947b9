//! `test-prompt`: how a model answers a prompt.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use sae_core::model::HookedModel;
use sae_models::tokenizer::{PrependBos, Tokenizer};
use sae_models::{Decoder, Judged, TestPrompt, test_prompt};
use serde_json::{Value, json};

use super::edits;
use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?;
    let tokenizer = Tokenizer::load(&case.model()?, model.spec().n_ctx)?;
    let saes = edits::load_saes(case)?;
    let plan = edits::plan(case, &saes, &[])?;
    let verdict = test_prompt(&model, &tokenizer, &question(case)?, &plan)?;
    let mut out = Outputs::default();
    let mut steps = Vec::new();
    for (j, step) in verdict.steps.iter().enumerate() {
        let column = |f: fn(&Judged) -> f32| -> Result<Tensor> {
            let values: Vec<f32> = step.top.iter().map(f).collect();
            let n = values.len();
            Ok(Tensor::from_vec(values, n, &Device::Cpu)?)
        };
        out.put(format!("top_logits.{j}"), column(|t| t.logit)?);
        out.put(format!("top_probs.{j}"), column(|t| t.prob)?);
        steps.push(json!({
            "answers": step.answers,
            "top_tokens": step.top.iter().map(|t| t.token).collect::<Vec<_>>(),
            "top_strs": step.top.iter().map(|t| &t.str).collect::<Vec<_>>(),
        }));
    }
    out.put_json("ranks", json!(verdict.ranks()));
    out.put_json("steps", steps);
    out.put_json("prompt_tokens", json!(verdict.prompt_tokens));
    out.put_json("prompt_strs", json!(verdict.prompt_strs));
    out.put_json("answer_strs", json!(verdict.answer_strs));
    Ok(out)
}

fn question(case: &Case) -> Result<TestPrompt> {
    let text = |v: &Value| v.as_str().map(str::to_owned);
    let answers = match &case.params["answer"] {
        Value::Array(list) => list.iter().filter_map(text).collect(),
        one => vec![text(one).context("no answer")?],
    };
    Ok(TestPrompt {
        prompt: text(&case.params["prompt"]).context("no prompt")?,
        answers,
        prepend_space_to_answer: case.flag("prepend_space_to_answer"),
        prepend_bos: PrependBos::from(case.param("prepend_bos").and_then(Value::as_bool)),
        top_k: usize::try_from(case.integer("top_k")?.unwrap_or(10))?,
    })
}
