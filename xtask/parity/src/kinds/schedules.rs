//! `schedules`: learning rates, coefficients and checkpoints, step by step.

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use sae_train::schedule::{checkpoint_thresholds, legacy_checkpoint_thresholds};
use sae_train::{Coefficient, LrSchedule, MainPhase};
use serde_json::Value;

use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let number =
        |name: &str| case.param(name).and_then(Value::as_f64).with_context(|| format!("no {name}"));
    let count = |name: &str| -> Result<u64> {
        Ok(u64::try_from(case.integer(name)?.with_context(|| format!("no {name}"))?)?)
    };
    let mut out = Outputs::default();
    match case.params["op"].as_str() {
        Some("lr") => {
            let name = case.params["scheduler_name"].as_str().context("no scheduler_name")?;
            let phase = MainPhase::named(name, count("num_cycles").unwrap_or(1))?;
            let steps = count("training_steps")?;
            let rates = (number("lr")?, number("lr_end")?);
            let around = (count("warm_up_steps")?, count("decay_steps")?);
            let schedule = LrSchedule::new(phase, rates, steps, around)?;
            out.put("lr", tensor((0..steps).map(|t| schedule.at(t)).collect())?);
            out.put("lr_after", tensor(vec![schedule.at(steps)])?);
        }
        Some("coefficient") => {
            let coefficient = Coefficient {
                final_value: number("final_value")?,
                warm_up_steps: count("warm_up_steps")?,
            };
            let steps = count("steps")?;
            out.put("coefficient", tensor((0..steps).map(|t| coefficient.at(t)).collect())?);
            let resumed = coefficient.at(count("resume_at")?);
            if case.expects("value_when_resumed") {
                out.put("value_when_resumed", tensor(vec![resumed])?);
            } else {
                out.put_json("value_when_resumed", resumed);
            }
        }
        Some("checkpoints") => {
            let (total, batch) =
                (count("total_training_samples")?, count("train_batch_size_samples")?);
            let thresholds = match case.params["era"].as_str() {
                Some("5.9") => legacy_checkpoint_thresholds(total, count("n_checkpoints")?),
                _ => checkpoint_thresholds(total, count("n_checkpoints")?),
            };
            let mut left = thresholds.iter().peekable();
            let mut saved = Vec::new();
            let mut samples = 0;
            while samples < total {
                samples += batch;
                if left.next_if(|at| samples > **at).is_some() {
                    saved.push(samples);
                }
            }
            out.put_json("thresholds", thresholds.clone());
            out.put_json("saved_at", saved);
        }
        other => bail!("op {other:?} is not built"),
    }
    Ok(out)
}

fn tensor(values: Vec<f64>) -> Result<Tensor> {
    let n = values.len();
    Ok(Tensor::from_vec(values, n, &Device::Cpu)?)
}
