//! `fit`: from a configuration and a source of activations to a trained SAE.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sae_core::metric::{Metric, MetricSink};
use sae_core::sae::Normalize;
use sae_core::source::{ActivationSource, Position};
use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::config::{BiasInit, TrainConfig};
use crate::init::init;
use crate::metrics::Log;
use crate::pretrained::Pretrained;
use crate::scale::{NormEstimate, Scale};
use crate::schedule::checkpoint_thresholds;
use crate::trained::Trained;
use crate::trainer::{Step, Trainer};
use crate::whiten::{EPS, WhiteningEstimate};
use crate::{Error, Result};

/// Activations that `b_dec` may begin at.
const SAMPLE_ROWS: usize = 1 << 14;

/// Told about every step.
pub type OnStep<'a> = dyn FnMut(&Trainer, &Step) + 'a;

/// What training talks to on the way; nothing of it is needed.
#[derive(Default)]
pub struct Surroundings<'a> {
    /// Where metrics go.
    pub sink: Option<&'a mut dyn MetricSink>,
    /// Where checkpoints are written, and looked for.
    pub checkpoints: Option<&'a Path>,
    /// Set to stop after the step at hand, with a checkpoint.
    pub stop: Option<&'a AtomicBool>,
    /// Told about every step.
    pub on_step: Option<&'a mut OnStep<'a>>,
}

/// How training ended.
pub enum Outcome {
    /// It is done.
    Done(Box<Trained>),
    /// It was asked to stop; a checkpoint was written if there is a place for it.
    Stopped {
        /// Rows trained on.
        rows: u64,
    },
}

/// Train until `config.training_tokens` rows were seen, or go on from the latest checkpoint until then.
///
/// # Errors
/// Activations of another width, a source that ends early, a loss that is no number, or a checkpoint of
/// another run.
pub fn fit(
    config: &TrainConfig,
    source: &mut dyn ActivationSource,
    around: Surroundings<'_>,
) -> Result<Outcome> {
    let identity = identity(config, source);
    let trainer = begin(config, source, around.checkpoints, &identity)?;
    go_on(config, trainer, source, around)
}

/// As [`fit`], with a trainer that is somewhere on its way.
///
/// # Errors
/// As [`fit`].
pub fn go_on(
    config: &TrainConfig,
    mut trainer: Trainer,
    source: &mut dyn ActivationSource,
    mut around: Surroundings<'_>,
) -> Result<Outcome> {
    let identity = identity(config, source);
    let total = config.training_tokens;
    let mut thresholds = checkpoint_thresholds(total, config.n_checkpoints);
    thresholds.retain(|at| *at >= trainer.state().n_training_samples);
    let mut thresholds = thresholds.into_iter().peekable();
    while trainer.state().n_training_samples < total {
        let batch = next(source, config.batch_rows, total)?;
        let step = trainer.step(&batch)?;
        log(config, &trainer, &step, around.sink.as_deref_mut())?;
        if let Some(on_step) = around.on_step.as_mut() {
            on_step(&trainer, &step);
        }
        let rows = trainer.state().n_training_samples;
        let stop = around.stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        let due = thresholds.next_if(|at| rows > *at).is_some();
        if let (true, Some(dir)) = (due || stop, around.checkpoints) {
            let cfg = config.training_cfg(source.spec().width);
            snapshot(&trainer, source.position()).write(dir, &identity, &cfg)?;
        }
        if stop && rows < total {
            return Ok(Outcome::Stopped { rows });
        }
    }
    Ok(Outcome::Done(Box::new(Trained::new(config, source.spec().hook, &trainer)?)))
}

/// What must not change between the parts of a run.
fn identity(config: &TrainConfig, source: &dyn ActivationSource) -> Value {
    let mut fields = serde_json::Map::new();
    let text = format!("{config:?}");
    fields.insert("hook".to_owned(), source.spec().hook.to_string().into());
    fields.insert("width".to_owned(), source.spec().width.into());
    fields.insert("configuration".to_owned(), text.into());
    Value::Object(fields)
}

fn snapshot(trainer: &Trainer, source: Position) -> Checkpoint {
    let scale = trainer.settings().scale.clone();
    Checkpoint { state: trainer.state().clone(), source, scale }
}

/// A trainer at the latest checkpoint, or at the beginning.
fn begin(
    config: &TrainConfig,
    source: &mut dyn ActivationSource,
    checkpoints: Option<&Path>,
    identity: &Value,
) -> Result<Trainer> {
    let (hook, got) = (source.spec().hook, source.spec().width);
    if let Some(want) = config.d_in.filter(|d_in| *d_in != got) {
        return Err(Error::Width { hook, got, want });
    }
    let recipe = config.recipe.build(config.apply_b_dec_to_input);
    let params = recipe.zeros(got, config.d_sae(got));
    if let Some(path) = checkpoints.map(Checkpoint::latest).transpose()?.flatten() {
        let found = Checkpoint::read(&path, &params, identity)?;
        source.seek(found.source)?;
        let settings = config.settings(found.scale)?;
        return Ok(Trainer::resume(recipe, settings, found.state));
    }
    let scale = estimate_scale(config, source)?;
    if let Some(path) = &config.from_pretrained_path {
        let pretrained = Pretrained::read(path, recipe.as_ref(), &params)?;
        let mut trainer = Trainer::new(recipe, config.settings(scale)?, pretrained.params);
        trainer.state_mut().topk_threshold = pretrained.topk_threshold;
        return Ok(trainer);
    }
    let sample = match config.init.b_dec {
        BiasInit::Zeros => None,
        _ => {
            let at = source.position();
            let sample = next(source, SAMPLE_ROWS.min(4 * config.batch_rows), SAMPLE_ROWS as u64)?;
            source.seek(at)?;
            Some(scale.apply(&sample, got)?.into_owned())
        }
    };
    let mut params = init(params, config.init, config.seed, sample.as_deref());
    for (name, values) in &mut params.per_latent {
        values.fill(recipe.initial(name));
    }
    Ok(Trainer::new(recipe, config.settings(scale)?, params))
}

/// What `normalize_activations` does to activations before they are seen, from the next batches of the
/// source, which are not trained on.
///
/// # Errors
/// The source ends, or its activations have no covariance.
pub fn estimate_scale(config: &TrainConfig, source: &mut dyn ActivationSource) -> Result<Scale> {
    let width = source.spec().width;
    let mut each = |add: &mut dyn FnMut(&[f32]) -> Result<()>| -> Result<()> {
        for _ in 0..config.n_batches_for_norm_estimate {
            add(&next(source, config.batch_rows, config.training_tokens)?)?;
        }
        Ok(())
    };
    match config.normalize {
        Normalize::ExpectedAverageOnlyIn => {
            let mut estimate = NormEstimate::default();
            each(&mut |batch| {
                estimate.add(batch, width);
                Ok(())
            })?;
            Ok(estimate.factor(width).map_or(Scale::None, Scale::Factor))
        }
        Normalize::CovarianceWhitening => {
            let mut estimate = WhiteningEstimate::new(width);
            each(&mut |batch| estimate.add(batch))?;
            let whitening = estimate.whitening(EPS)?;
            Ok(whitening.map_or(Scale::None, |map| Scale::Whitening(Box::new(map))))
        }
        _ => Ok(Scale::None),
    }
}

/// The next rows; a source may end within a batch, not before it.
fn next(source: &mut dyn ActivationSource, rows: usize, want: u64) -> Result<Vec<f32>> {
    match source.next(rows)? {
        Some(batch) => Ok(batch.flatten_all()?.to_vec1::<f32>()?),
        None => Err(Error::SourceEnded { got: source.position().row, want }),
    }
}

fn log(
    config: &TrainConfig,
    trainer: &Trainer,
    step: &Step,
    sink: Option<&mut (dyn MetricSink + '_)>,
) -> Result<()> {
    let Some(sink) = sink else { return Ok(()) };
    let mut write = |log: &Log| {
        let metrics: Vec<Metric<'_>> =
            log.iter().map(|(name, value)| Metric { name, value: *value }).collect();
        sink.log(trainer.state().n_training_steps, &metrics).map_err(Error::Metrics)
    };
    if let Some(window) = &step.window {
        write(window)?;
    }
    if trainer.state().n_training_steps.is_multiple_of(config.log_frequency) {
        write(&trainer.log(step))?;
    }
    Ok(())
}
