//! `sae-train-step`: one forward and backward pass, and a short run of the trainer.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use sae_core::sae::Normalize;
use sae_train::adam::Betas;
use sae_train::config::{Era, RecipeConfig, read_sae};
use sae_train::recipe::Recipe;
use sae_train::rows::Rows;
use sae_train::scale::Scale;
use sae_train::{Coefficient, LrSchedule, MainPhase, Params, Settings, Step, Trainer};
use serde_json::Value;

use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let mut out = Outputs::default();
    step(case, &mut out)?;
    train(case, &mut out)?;
    Ok(out)
}

/// A trainer at the start of the case.
fn trainer(case: &Case) -> Result<Trainer> {
    let era = match case.params["era"].as_str() {
        Some("4.0.10") => Era::V4,
        Some("5.9") => Era::V5,
        Some("6.54") => Era::V6,
        other => bail!("era {other:?} is not built"),
    };
    let cfg = &case.params["cfg"];
    let architecture = case.params["architecture"].as_str().context("no architecture")?;
    let mut map = cfg.as_object().context("no cfg")?.clone();
    map.insert("architecture".to_owned(), architecture.into());
    let sae = read_sae(&map, era).map_err(|problems| anyhow::anyhow!(problems.join("; ")))?;
    let recipe = sae.recipe.build(sae.apply_b_dec_to_input);
    let params = params(case, recipe.as_ref())?;
    let mut settings = settings(case, &sae.recipe, sae.normalize)?;
    settings.unit_norm_decoder = cfg["normalize_sae_decoder"].as_bool().unwrap_or(false);
    settings.dense_batch_mse = cfg["mse_loss_normalization"] == "dense_batch";
    settings.era = era;
    Ok(start(case, Trainer::new(recipe, settings, params)))
}

/// The trainer with the threshold of BatchTopK SAEs at which the case begins.
pub(super) fn start(case: &Case, mut trainer: Trainer) -> Trainer {
    let threshold = &mut trainer.state_mut().topk_threshold;
    *threshold = threshold.map(|t| case.params["topk_threshold"].as_f64().unwrap_or(t));
    trainer
}

pub(super) fn params(case: &Case, recipe: &dyn Recipe) -> Result<Params> {
    let cfg = &case.params["cfg"];
    let size = |name: &str| {
        Ok::<_, anyhow::Error>(usize::try_from(cfg[name].as_u64().context("no size")?)?)
    };
    let mut params = recipe.zeros(size("d_in")?, size("d_sae")?);
    for (name, values) in params.tensors_mut() {
        let tensor = case.input(&format!("param.{name}"))?;
        let tensor = if name == "W_enc" { tensor.t()? } else { tensor };
        *values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    }
    Ok(params)
}

fn settings(case: &Case, recipe: &RecipeConfig, normalize: Normalize) -> Result<Settings> {
    let t = &case.params["trainer"];
    let number = |name: &str| t[name].as_f64().with_context(|| format!("no trainer.{name}"));
    let count = |name: &str| t[name].as_u64().unwrap_or(0);
    let batch = count("train_batch_size_samples").max(1);
    let steps = count("total_training_samples") / batch;
    let name = t["lr_scheduler_name"].as_str().unwrap_or("constant");
    let phase = MainPhase::named(name, t["n_restart_cycles"].as_u64().unwrap_or(1))?;
    let around = (count("lr_warm_up_steps"), count("lr_decay_steps"));
    let cfg = &case.params["cfg"];
    // Version 5 schedules an L1 coefficient for every architecture.
    let legacy = case.params["era"] != "6.54";
    let name = if legacy { Some("l1") } else { recipe.build(true).coefficient() };
    let coefficient = match name {
        Some(name) => Coefficient {
            final_value: cfg[format!("{name}_coefficient")].as_f64().unwrap_or(1.0),
            warm_up_steps: cfg[format!("{name}_warm_up_steps")]
                .as_u64()
                .unwrap_or_else(|| count(&format!("{name}_warm_up_steps"))),
        },
        None => Coefficient { final_value: 0.0, warm_up_steps: 0 },
    };
    Ok(Settings {
        batch_rows: usize::try_from(batch)?,
        lr: LrSchedule::new(phase, (number("lr")?, number("lr_end")?), steps, around)?,
        coefficient,
        betas: Betas {
            beta1: t["adam_beta1"].as_f64().unwrap_or(0.9),
            beta2: t["adam_beta2"].as_f64().unwrap_or(0.999),
        },
        normalize,
        dead_feature_window: count("dead_feature_window"),
        feature_sampling_window: count("feature_sampling_window"),
        scale: t["activation_scaling_factor"].as_f64().map_or(Scale::None, Scale::Factor),
        unit_norm_decoder: false,
        dense_batch_mse: false,
        era: Era::V6,
    })
}

/// `in.batch.<i>`, as long as there are any.
pub(super) fn batches(case: &Case) -> Result<Vec<Vec<f32>>> {
    let mut found = Vec::new();
    while let Some(batch) = case.maybe_input(&format!("batch.{}", found.len()))? {
        found.push(batch.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?);
    }
    Ok(found)
}

fn step(case: &Case, out: &mut Outputs) -> Result<()> {
    let mut trainer = trainer(case)?;
    let first = batches(case)?.into_iter().next().context("no batch")?;
    let width = trainer.state().params.d_in;
    let batch = trainer.settings().scale.apply(&first, width)?.into_owned();
    let dead = case.maybe_input("dead")?.map(|t| t.to_dtype(DType::I64)?.to_vec1::<i64>());
    let dead: Option<Vec<bool>> = dead.transpose()?.map(|d| d.iter().map(|d| *d != 0).collect());
    let coefficient = case.params["coefficients"].as_object();
    let coefficient = coefficient.and_then(|c| c.values().next()).and_then(Value::as_f64);
    let pass = trainer.pass(&batch, dead.as_deref(), coefficient.unwrap_or(0.0));
    let (d_in, d_sae) = (trainer.state().params.d_in, trainer.state().params.d_sae);
    let rows = batch.len() / d_in;
    out.put("step.loss", scalar(pass.loss())?);
    for (name, loss) in &pass.losses {
        out.put(format!("step.losses.{name}"), scalar(*loss)?);
    }
    for (name, value) in &pass.metrics {
        out.put(format!("step.metrics.{name}"), scalar(*value)?);
    }
    for name in ["ghost_grad_loss", "auxiliary_reconstruction_loss", "l1_loss"] {
        // Version 4 reports every loss there was.
        if !pass.losses.iter().any(|(have, _)| *have == name) {
            out.put(format!("step.losses.{name}"), scalar(0.0)?);
        }
    }
    out.put("step.feature_acts", pass.codes.to_dense()?);
    out.put("step.sae_out", Tensor::from_vec(pass.out, (rows, d_in), &Device::Cpu)?);
    let apply_b_dec = trainer.recipe().apply_b_dec_to_input();
    let seen =
        Rows::new(&batch, &trainer.state().params, trainer.settings().normalize, apply_b_dec);
    let hidden = trainer.recipe().hidden_pre(&trainer.state().params, &seen);
    out.put("step.hidden_pre", Tensor::from_vec(hidden, (rows, d_sae), &Device::Cpu)?);
    put_params(out, "step.grad", trainer.gradients())
}

fn train(case: &Case, out: &mut Outputs) -> Result<()> {
    let mut trainer = trainer(case)?;
    if let Some(passes) = case.maybe_input("passes_since_fired")? {
        let passes = passes.to_dtype(DType::I64)?.to_vec1::<i64>()?;
        trainer.state_mut().counters.passes_since_fired =
            passes.into_iter().map(u64::try_from).collect::<Result<_, _>>()?;
    }
    let steps: Vec<Step> =
        batches(case)?.iter().map(|b| trainer.step(b)).collect::<Result<_, _>>()?;
    let series = |f: &dyn Fn(&Step) -> f64| -> Result<Tensor> {
        let values: Vec<f64> = steps.iter().map(f).collect();
        let n = values.len();
        Ok(Tensor::from_vec(values, n, &Device::Cpu)?)
    };
    out.put("train.loss", series(&Step::loss)?);
    out.put("train.grad_norm", series(&|s| s.grad_norm)?);
    out.put("train.lr", series(&|s| s.lr)?);
    out.put("train.n_dead", series(&|s| s.n_dead as f64)?);
    for name in ["l1", "l0"] {
        out.put(format!("train.coefficient.{name}"), series(&|s| s.coefficient)?);
    }
    let reported = steps.first().into_iter().flat_map(|s| s.losses.iter().map(|(n, _)| n.as_ref()));
    // Version 4 reports every loss there was.
    let ever = ["l1_loss", "ghost_grad_loss", "auxiliary_reconstruction_loss"];
    for name in reported.chain(ever) {
        let of = |s: &Step| s.losses.iter().find(|(n, _)| *n == name).map_or(0.0, |(_, l)| *l);
        out.put(format!("train.losses.{name}"), series(&of)?);
    }
    let threshold = |s: &Step| {
        s.metrics.iter().find(|(n, _)| *n == "topk_threshold").map_or(f64::NAN, |(_, t)| *t)
    };
    out.put("train.topk_threshold", series(&threshold)?);
    let counters = &trainer.state().counters;
    out.put("train.passes_since_fired", counts(&counters.passes_since_fired)?);
    out.put("train.act_freq_scores", counts(&counters.act_freq)?);
    put_params(out, "train.param", &trainer.state().params)
}

/// Every tensor under its name, in SAELens' shapes.
pub(super) fn put_params(out: &mut Outputs, prefix: &str, params: &Params) -> Result<()> {
    let (d_in, d_sae) = (params.d_in, params.d_sae);
    for (name, values) in params.tensors() {
        let flat = Tensor::new(values.as_slice(), &Device::Cpu)?;
        let tensor = match name {
            "W_enc" => flat.reshape((d_sae, d_in))?.t()?.contiguous()?,
            "W_dec" => flat.reshape((d_sae, d_in))?,
            _ => flat,
        };
        out.put(format!("{prefix}.{name}"), tensor);
    }
    Ok(())
}

fn scalar(value: f64) -> Result<Tensor> {
    Ok(Tensor::new(&[value], &Device::Cpu)?)
}

fn counts(values: &[u64]) -> Result<Tensor> {
    let values: Vec<f64> = values.iter().map(|v| *v as f64).collect();
    Ok(Tensor::new(values.as_slice(), &Device::Cpu)?)
}
