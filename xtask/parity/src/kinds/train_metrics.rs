//! `train-metrics`: the bookkeeping around given forward passes.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use sae_train::config::Era;
use sae_train::counters::Counters;
use sae_train::metrics::{Fit, StepFacts, step_log, window_log};
use sae_train::recipe::Losses;
use sae_train::{Coefficient, LrSchedule, MainPhase};
use serde_json::{Map, Value};

use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let t = &case.params["trainer"];
    let count = |name: &str| t[name].as_u64().with_context(|| format!("no trainer.{name}"));
    let number = |name: &str| t[name].as_f64().with_context(|| format!("no trainer.{name}"));
    let era = if case.params["era"] == "6.54" { Era::V6 } else { Era::V5 };
    let phase = MainPhase::named(
        t["lr_scheduler_name"].as_str().context("no scheduler")?,
        count("n_restart_cycles")?,
    )?;
    let around = (count("lr_warm_up_steps")?, count("lr_decay_steps")?);
    let rates = (number("lr")?, number("lr_end")?);
    let lr = LrSchedule::new(phase, rates, count("total_steps")?, around)?;
    let coefficient = coefficient(case)?;
    let (x, out, acts) =
        (batches(case, "sae_in")?, batches(case, "sae_out")?, batches(case, "acts")?);
    let width = case.input("sae_in")?.dim(2)?;
    let d_sae = case.input("acts")?.dim(2)?;
    let (window, dead_window) = (count("feature_sampling_window")?, count("dead_feature_window")?);
    let mut counters = Counters::new(d_sae);
    let mut seen = Seen::default();
    for step in 0..x.len() {
        let boundary = if era == Era::V6 { step } else { step + 1 } as u64;
        if boundary > 0 && boundary.is_multiple_of(window) {
            if counters.rows > 0 {
                seen.window(step, window_log(&counters));
            }
            counters.reset_window();
        }
        let dead = counters.dead(dead_window);
        let rows = x[step].len() / width;
        let on = |a: &f32| if era == Era::V6 { *a != 0.0 } else { *a > 0.0 };
        let l0 = acts[step].iter().filter(|a| on(a)).count() as f64 / rows as f64;
        let of = |i: usize| acts[step].iter().skip(i).step_by(d_sae);
        let active = |i: usize| (of(i).any(on), of(i).filter(|a| **a != 0.0).count());
        counters.record_signed((0..d_sae).map(active), rows);
        let next = step as u64 + 1;
        let losses = values(case, "losses", step)?;
        let losses: Losses = losses.into_iter().map(|(name, v)| (name.into(), v)).collect();
        let facts = StepFacts {
            losses: &losses,
            fit: Fit::new(&x[step], &out[step], width),
            l0,
            learning_rate: lr.at(next),
            coefficient: coefficient.map(|(name, c)| (name, c.at(next))),
            n_training_samples: next * rows as u64,
            n_dead: counters.dead(dead_window).iter().filter(|d| **d).count(),
            era,
        };
        let mut log = step_log(&facts, &counters);
        log.extend(
            values(case, "metrics", step)?.into_iter().map(|(n, v)| (format!("metrics/{n}"), v)),
        );
        seen.step(log, &dead, &counters);
    }
    seen.outputs(&counters, dead_window)
}

fn coefficient(case: &Case) -> Result<Option<(&'static str, Coefficient)>> {
    let Some((name, c)) = case.params["coefficients"].as_object().and_then(|o| o.iter().next())
    else {
        return Ok(None);
    };
    let final_value = c[0].as_f64().context("no coefficient")?;
    let warm_up_steps = c[1].as_u64().context("no warm-up")?;
    Ok(Some((intern(name), Coefficient { final_value, warm_up_steps })))
}

/// The library's names are static; a case's are few.
fn intern(name: &str) -> &'static str {
    Box::leak(name.to_owned().into_boxed_str())
}

fn values(case: &Case, group: &str, step: usize) -> Result<Vec<(String, f64)>> {
    let Some(map) = case.params[group].as_object() else { return Ok(Vec::new()) };
    map.iter()
        .map(|(name, v)| Ok((name.clone(), v[step].as_f64().context("too few values")?)))
        .collect()
}

fn batches(case: &Case, name: &str) -> Result<Vec<Vec<f32>>> {
    let tensor = case.input(name)?.to_dtype(DType::F32)?;
    (0..tensor.dim(0)?).map(|i| Ok(tensor.get(i)?.flatten_all()?.to_vec1()?)).collect()
}

/// What was logged, step by step.
#[derive(Default)]
struct Seen {
    logs: Map<String, Value>,
    windows: Map<String, Value>,
    window_steps: Vec<usize>,
    dead: Vec<f64>,
    passes: Vec<f64>,
    freq: Vec<f64>,
    steps: usize,
}

impl Seen {
    fn window(&mut self, step: usize, log: Vec<(String, f64)>) {
        self.window_steps.push(step);
        append(&mut self.windows, "window", log);
    }

    fn step(&mut self, log: Vec<(String, f64)>, dead: &[bool], counters: &Counters) {
        append(&mut self.logs, "log", log);
        self.dead.extend(dead.iter().map(|d| f64::from(u8::from(*d))));
        self.passes.extend(counters.passes_since_fired.iter().map(|p| *p as f64));
        self.freq.extend(counters.act_freq.iter().map(|f| *f as f64));
        self.steps += 1;
    }

    fn outputs(self, counters: &Counters, dead_window: u64) -> Result<Outputs> {
        let mut out = Outputs::default();
        let mut keys: Vec<String> =
            self.logs.keys().filter_map(|k| k.strip_prefix("log.").map(str::to_owned)).collect();
        keys.sort();
        out.put_json("log_keys", keys);
        for (key, value) in self.logs.into_iter().chain(self.windows) {
            out.put_json(&key, value);
        }
        out.put_json("window_steps", self.window_steps);
        let shape = (self.steps, counters.act_freq.len());
        for (name, values) in [
            ("dead_mask", self.dead),
            ("passes_since_fired", self.passes),
            ("act_freq_scores", self.freq),
        ] {
            out.put(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        let sparsity = counters.log_density();
        out.put("log_feature_sparsity", Tensor::new(sparsity.as_slice(), &Device::Cpu)?);
        out.put_json("final_l0", counters.l0());
        let dead = counters.dead(dead_window).iter().filter(|d| **d).count();
        out.put_json("final_num_dead_features", dead);
        Ok(out)
    }
}

fn append(map: &mut Map<String, Value>, prefix: &str, log: Vec<(String, f64)>) {
    for (name, value) in log {
        let list =
            map.entry(format!("{prefix}.{name}")).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(value.into());
        }
    }
}
