//! `fit`: from a configuration and a source of activations to a trained SAE.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use sae_core::metric::{Metric, MetricSink};
use sae_core::sae::{Normalize, Sae, SaeSpec, Whitening};
use sae_core::source::{ActivationSource, Position};
use serde_json::Value;

use crate::checkpoint::Checkpoint;
use crate::config::{BiasInit, TrainConfig};
use crate::export::to_sae;
use crate::init::init;
use crate::metrics::Log;
use crate::params::Params;
use crate::scale::{NormEstimate, fold};
use crate::schedule::checkpoint_thresholds;
use crate::trainer::{Step, Trainer};
use crate::whiten::{EPS, Whitened, WhiteningEstimate};
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

/// A trained SAE.
pub struct Trained {
    /// For inference: scale, whitening and norms folded.
    pub sae: Box<dyn Sae>,
    /// Weights with the scale folded, as they were trained otherwise (not with a whitening folded).
    pub params: Params,
    /// `log10` of each latent's density in the last window.
    pub log_sparsity: Vec<f64>,
    /// Mean number of active latents in the last window.
    pub l0: f64,
    /// Latents dead at the end.
    pub num_dead_features: usize,
    /// What activations were multiplied by.
    pub scaling_factor: Option<f64>,
    /// Steps taken.
    pub n_training_steps: u64,
    /// Rows trained on.
    pub n_training_samples: u64,
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
    let Some(whitening) = estimate_whitening(config, source)? else {
        return fit_plain(config, source, around);
    };
    let mut whitened = Whitened { inner: source, whitening: whitening.clone() };
    let mut outcome = fit_plain(config, &mut whitened, around)?;
    if let Outcome::Done(trained) = &mut outcome {
        trained.sae.fold_activation_whitening(&whitening)?;
    }
    Ok(outcome)
}

fn fit_plain(
    config: &TrainConfig,
    source: &mut dyn ActivationSource,
    around: Surroundings<'_>,
) -> Result<Outcome> {
    let identity = identity(config, source);
    let trainer = begin(config, source, around.checkpoints, &identity)?;
    go_on(config, trainer, source, around)
}

/// The map for `covariance_whitening`, from the first batches of the source, which are not trained on;
/// `None` where nothing is whitened. A run that is resumed finds the same map.
fn estimate_whitening(
    config: &TrainConfig,
    source: &mut dyn ActivationSource,
) -> Result<Option<Whitening>> {
    if config.normalize != Normalize::CovarianceWhitening {
        return Ok(None);
    }
    source.seek(Position::default())?;
    let mut estimate = WhiteningEstimate::new(source.spec().width);
    for _ in 0..config.n_batches_for_norm_estimate {
        estimate.add(&next(source, config.batch_rows, config.training_tokens)?);
    }
    estimate.whitening(EPS)
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
            snapshot(&trainer, source.position()).write(dir, &identity)?;
        }
        if stop && rows < total {
            return Ok(Outcome::Stopped { rows });
        }
    }
    Ok(Outcome::Done(Box::new(finish(config, source, &trainer)?)))
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
    let scaling_factor = trainer.settings().scaling_factor;
    Checkpoint { state: trainer.state().clone(), source, scaling_factor }
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
    let params = Params::zeros(got, config.d_sae(got), recipe.per_latent());
    if let Some(path) = checkpoints.map(Checkpoint::latest).transpose()?.flatten() {
        let found = Checkpoint::read(&path, &params, identity)?;
        source.seek(found.source)?;
        let settings = config.settings(found.scaling_factor)?;
        return Ok(Trainer::resume(recipe, settings, found.state));
    }
    let scaling_factor = estimate_scale(config, source)?;
    let sample = match config.init.b_dec {
        BiasInit::Zeros => None,
        _ => {
            let at = source.position();
            let sample = next(source, SAMPLE_ROWS.min(4 * config.batch_rows), SAMPLE_ROWS as u64)?;
            source.seek(at)?;
            Some(scaled(sample, scaling_factor))
        }
    };
    let mut params = init(params, config.init, config.seed, sample.as_deref());
    for (name, values) in &mut params.per_latent {
        values.fill(recipe.initial(name));
    }
    Ok(Trainer::new(recipe, config.settings(scaling_factor)?, params))
}

/// The factor for `expected_average_only_in`, from the next batches of the source, which are not trained
/// on; `None` where nothing is scaled.
///
/// # Errors
/// The source ends.
pub fn estimate_scale(
    config: &TrainConfig,
    source: &mut dyn ActivationSource,
) -> Result<Option<f64>> {
    if config.normalize != Normalize::ExpectedAverageOnlyIn {
        return Ok(None);
    }
    let mut estimate = NormEstimate::default();
    for _ in 0..config.n_batches_for_norm_estimate {
        let batch = next(source, config.batch_rows, config.training_tokens)?;
        estimate.add(&batch, source.spec().width);
    }
    Ok(estimate.factor(source.spec().width))
}

#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn scaled(mut rows: Vec<f32>, factor: Option<f64>) -> Vec<f32> {
    if let Some(factor) = factor {
        rows.iter_mut().for_each(|x| *x *= factor as f32);
    }
    rows
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

fn finish(
    config: &TrainConfig,
    source: &dyn ActivationSource,
    trainer: &Trainer,
) -> Result<Trained> {
    let state = trainer.state();
    let mut params = state.params.clone();
    if config.normalize_sae_decoder {
        crate::init::scale_rows(&mut params, 1.0);
    }
    let scaling_factor = trainer.settings().scaling_factor;
    if let Some(factor) = scaling_factor {
        fold(&mut params, factor);
    }
    let (l0, dead) = (state.counters.l0(), state.counters.dead(config.dead_feature_window));
    let num_dead_features = dead.iter().filter(|d| **d).count();
    let mut spec = SaeSpec::new(config.recipe.architecture(), params.d_in, params.d_sae)
        .at(source.spec().hook);
    spec.apply_b_dec_to_input = config.apply_b_dec_to_input;
    spec.normalize_activations = match config.normalize {
        Normalize::ExpectedAverageOnlyIn => Normalize::None,
        other => other,
    };
    let metadata: [(&str, Value); 8] = [
        ("hook_head_index", config.head.into()),
        ("model_name", config.model_name.clone().into()),
        ("dataset_path", config.dataset_path.clone().into()),
        ("context_size", config.context_size.into()),
        ("prepend_bos", config.prepend_bos.into()),
        ("l0", l0.into()),
        ("num_dead_features", num_dead_features.into()),
        ("training_tokens", state.n_training_samples.into()),
    ];
    spec.metadata.extend(metadata.map(|(key, value)| (key.to_owned(), value)));
    Ok(Trained {
        sae: to_sae(spec, &params)?,
        params,
        log_sparsity: state.counters.log_density(),
        l0,
        num_dead_features,
        scaling_factor,
        n_training_steps: state.n_training_steps,
        n_training_samples: state.n_training_samples,
    })
}
