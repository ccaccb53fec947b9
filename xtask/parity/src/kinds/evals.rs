//! `evals`: an SAE evaluated on a model and given prompts.

use anyhow::{Context, Result};
use candle_core::Tensor;
use sae_analysis::weights::WeightMetrics;
use sae_analysis::{EvalData, evaluate};
use sae_models::Decoder;
use serde_json::Value;

use super::edits;
use super::eval_metrics::{features, put_weights};
use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?;
    let saes = edits::load_saes(case)?;
    let sae = saes.first().context("no SAE")?.1.as_ref();
    let exclude: Vec<u32> = match case.param("exclude_special_tokens") {
        Some(Value::Bool(true)) => {
            serde_json::from_value(case.params["special_token_ids"].clone())?
        }
        Some(list @ Value::Array(_)) => serde_json::from_value(list.clone())?,
        _ => Vec::new(),
    };
    let reconstruction = batches(&case.tokens("tokens.reconstruction")?)?;
    let sparsity_variance = batches(&case.tokens("tokens.sparsity_variance")?)?;
    let data = EvalData {
        reconstruction: &reconstruction,
        sparsity_variance: &sparsity_variance,
        exclude: &exclude,
    };
    let found = evaluate(&model, sae, data)?;
    let mut out = Outputs::default();
    if let Value::Object(groups) = serde_json::to_value(&found)? {
        for (group, metrics) in groups {
            out.put_json(&group, metrics);
        }
    }
    features(&mut out, "feature.", &found.features)?;
    if let Some(weights) = WeightMetrics::of(sae)? {
        put_weights(&mut out, "feature.", weights);
    }
    Ok(out)
}

fn batches(tokens: &Tensor) -> Result<Vec<Vec<Vec<u32>>>> {
    Ok(tokens.to_vec3::<u32>()?)
}
