//! `train-fit`: the whole loop, from given weights.

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use sae_core::hook::HookName;
use sae_core::sae::Architecture;
use sae_store::MemorySource;
use sae_train::fit::{estimate_scale, go_on};
use sae_train::{Outcome, Step, Surroundings, TrainConfig, Trainer};
use serde_json::{Map, Value, json};

use super::sae_train_step::{batches, params, put_params, start};
use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let config = config(case)?;
    let width = config.d_in.context("no d_in")?;
    let rows = batches(case)?.concat();
    let mut source = MemorySource::new(HookName::EMBED, width, rows)?;
    let recipe = config.recipe.build(config.apply_b_dec_to_input);
    let params = params(case, recipe.as_ref())?;
    let scale = estimate_scale(&config, &mut source)?;
    let trainer = start(case, Trainer::new(recipe, config.settings(scale)?, params));
    let mut losses = Vec::new();
    let mut on_step = |_: &Trainer, step: &Step| losses.push(step.loss());
    let around = Surroundings { on_step: Some(&mut on_step), ..Surroundings::default() };
    let Outcome::Done(trained) = go_on(&config, trainer, &mut source, around)? else {
        bail!("the run stopped early");
    };
    let mut out = Outputs::default();
    out.put("losses", Tensor::new(losses.as_slice(), &Device::Cpu)?);
    put_params(&mut out, "param", &trained.params)?;
    out.put_json("scaling_factor", json!(trained.scaling_factor));
    out.put_json("n_training_steps", trained.n_training_steps);
    out.put_json("n_training_samples", trained.n_training_samples);
    let mode = trained.sae.spec().normalize_activations.as_str();
    out.put_json("normalize_activations", mode);
    out.put_json("l0", trained.l0);
    out.put_json("num_dead_features", trained.num_dead_features);
    let residual_threshold = match &trained.sae.spec().architecture {
        Architecture::MatchingPursuit(stop) => Some(stop.residual_threshold),
        _ => None,
    };
    out.put_json("residual_threshold", residual_threshold);
    if let Some(threshold) = trained.topk_threshold {
        out.put("topk_threshold", Tensor::new(&[threshold], &Device::Cpu)?);
    }
    Ok(out)
}

/// The case as a configuration of SAELens 6.
fn config(case: &Case) -> Result<TrainConfig> {
    let trainer = case.params["trainer"].as_object().context("no trainer")?;
    let mut sae = case.params["cfg"].as_object().context("no cfg")?.clone();
    sae.insert("architecture".to_owned(), case.params["architecture"].clone());
    let mut map = Map::new();
    for (key, value) in trainer {
        let key = match key.as_str() {
            "total_training_samples" => "training_tokens",
            "train_batch_size_samples" => "train_batch_size_tokens",
            other => other,
        };
        map.insert(key.to_owned(), value.clone());
    }
    map.insert("sae".to_owned(), Value::Object(sae));
    let text = Value::Object(map).to_string();
    Ok(TrainConfig::parse(&case.name, text.as_bytes())?)
}
