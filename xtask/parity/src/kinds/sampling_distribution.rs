//! `sampling-distribution`: what the next token is drawn from.

use anyhow::Result;
use candle_core::{Device, Tensor};
use sae_models::sampling::{Sampling, distribution};
use serde_json::Value;

use crate::case::{Case, Outputs};

/// The sampling parameters that a case names.
pub(crate) fn sampling(case: &Case) -> Result<Sampling> {
    let number = |name: &str| case.param(name).and_then(Value::as_f64);
    Ok(Sampling {
        do_sample: case.param("do_sample").and_then(Value::as_bool).unwrap_or(true),
        temperature: number("temperature").unwrap_or(1.0),
        top_k: case.integer("top_k")?.map(usize::try_from).transpose()?,
        top_p: number("top_p"),
        freq_penalty: number("freq_penalty").unwrap_or(0.0),
        seed: 0,
    })
}

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let how = sampling(case)?;
    let logits = case.input("logits")?.to_vec2::<f32>()?;
    let mut out = Outputs::default();
    if how.is_greedy() {
        let ids: Vec<i64> = logits
            .iter()
            .map(|row| {
                let mut sampler = sae_models::sampling::Sampler::new(&how, 0)?;
                Ok(i64::from(sampler.next(row, &[])?))
            })
            .collect::<Result<_>>()?;
        let n = ids.len();
        out.put("argmax", Tensor::from_vec(ids, n, &Device::Cpu)?);
        return Ok(out);
    }
    let seen = case.tokens("tokens")?.to_vec2::<u32>()?;
    let probs: Vec<Vec<f32>> =
        logits.iter().zip(&seen).map(|(row, seen)| distribution(row, seen, &how)).collect();
    let kept = |row: &Vec<f32>| row.iter().filter(|p| **p != 0.0).count();
    out.put_json("kept", probs.iter().map(kept).collect::<Vec<_>>());
    out.put("probs", Tensor::new(probs, &Device::Cpu)?);
    Ok(out)
}
