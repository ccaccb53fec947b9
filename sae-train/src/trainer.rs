//! `Trainer`: one optimiser step after another, in the order of SAELens 6.

use sae_core::sae::Normalize;

use crate::adam::{Adam, Betas};
use crate::config::Era;
use crate::counters::Counters;
use crate::metrics::{Fit, Log, StepFacts, step_log, window_log};
use crate::params::Params;
use crate::recipe::{Losses, Pass, Recipe, StepContext};
use crate::residual::dense_batch_weights;
use crate::rows::Rows;
use crate::scale::Scale;
use crate::schedule::{Coefficient, LrSchedule};
use crate::{Error, Result};

/// What a trainer needs to know besides recipe and weights.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rows per step.
    pub batch_rows: usize,
    /// The learning rate.
    pub lr: LrSchedule,
    /// The sparsity coefficient, for recipes that have one.
    pub coefficient: Coefficient,
    /// Adam's decay rates.
    pub betas: Betas,
    /// What the SAE does to activations first.
    pub normalize: Normalize,
    /// Batches without firing after which a latent is dead.
    pub dead_feature_window: u64,
    /// Steps after which densities are counted afresh.
    pub feature_sampling_window: u64,
    /// What is done to activations before they are seen.
    pub scale: Scale,
    /// Rows of `W_dec` are set to norm 1 before every step (`normalize_sae_decoder`).
    pub unit_norm_decoder: bool,
    /// Squared errors are divided by the row's distance to the batch mean
    /// (`mse_loss_normalization: "dense_batch"`, SAELens up to 5).
    pub dense_batch_mse: bool,
    /// Whose rules: up to version 5 windows end one step earlier, and metrics have other names.
    pub era: Era,
}

/// Everything that changes during training.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The weights.
    pub params: Params,
    /// The optimiser.
    pub adam: Adam,
    /// Who fired when.
    pub counters: Counters,
    /// What a latent must exceed after training, for recipes that learn such a threshold
    /// ([`Recipe::threshold_rate`]): a moving average of the smallest positive latents of batches.
    pub topk_threshold: Option<f64>,
    /// Steps taken.
    pub n_training_steps: u64,
    /// Rows seen.
    pub n_training_samples: u64,
}

/// Trains one SAE, batch by batch.
pub struct Trainer {
    recipe: Box<dyn Recipe>,
    settings: Settings,
    state: State,
    grads: Params,
}

/// What one step did.
pub struct Step {
    /// Every loss under SAELens' name.
    pub losses: Losses,
    /// What the architecture reports besides, under SAELens' names.
    pub metrics: Vec<(&'static str, f64)>,
    /// Norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// The learning rate used.
    pub lr: f64,
    /// The sparsity coefficient used.
    pub coefficient: f64,
    /// Latents that counted as dead.
    pub n_dead: usize,
    /// Mean number of active latents.
    pub l0: f64,
    /// How well the batch was reconstructed.
    pub fit: Fit,
    /// The densities of the window that ended before this step, if one did.
    pub window: Option<Log>,
}

impl Step {
    /// The loss that was minimised.
    pub fn loss(&self) -> f64 {
        self.losses.iter().map(|(_, loss)| loss).sum()
    }
}

impl Trainer {
    /// Begin with these weights.
    pub fn new(recipe: Box<dyn Recipe>, settings: Settings, params: Params) -> Self {
        let state = State {
            adam: Adam::new(&params, settings.betas),
            counters: Counters::new(params.d_sae),
            topk_threshold: recipe.threshold_rate().map(|_| 0.0),
            n_training_steps: 0,
            n_training_samples: 0,
            params,
        };
        Self::resume(recipe, settings, state)
    }

    /// Go on from a state.
    pub fn resume(recipe: Box<dyn Recipe>, settings: Settings, state: State) -> Self {
        let grads = state.params.zeros_like();
        Self { recipe, settings, state, grads }
    }

    /// How the SAE is trained.
    pub fn recipe(&self) -> &dyn Recipe {
        self.recipe.as_ref()
    }

    /// What the trainer was told.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Everything that changes during training.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// As [`Trainer::state`], to be changed between steps.
    pub fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// The gradients of the last step, before clipping.
    pub fn gradients(&self) -> &Params {
        &self.grads
    }

    /// Forward and backward on a batch `[rows, d_in]` that was scaled already; the gradients are in
    /// [`Trainer::gradients`]. Nothing else changes but what every forward pass of training changes:
    /// weights are brought back to where they may be, and the threshold moves.
    pub fn pass(&mut self, batch: &[f32], dead: Option<&[bool]>, coefficient: f64) -> Pass {
        self.grads.clear();
        self.recipe.prepare(&mut self.state.params);
        let params = &self.state.params;
        let apply_b_dec = self.recipe.apply_b_dec_to_input();
        let rows = Rows::new(batch, params, self.settings.normalize, apply_b_dec);
        let weights =
            self.settings.dense_batch_mse.then(|| dense_batch_weights(batch, params.d_in));
        let context = StepContext { coefficient, dead, row_weights: weights.as_deref() };
        let mut pass = self.recipe.pass(params, &rows, context, &mut self.grads);
        if let Some(rate) = self.recipe.threshold_rate() {
            let positive = pass.codes.values().iter().copied().filter(|v| *v > 0.0);
            if let Some(least) = positive.reduce(f32::min) {
                let before = self.state.topk_threshold.unwrap_or(0.0);
                let after = (1.0 - rate) * before + rate * f64::from(least);
                self.state.topk_threshold = Some(after);
            }
            pass.metrics.extend(self.state.topk_threshold.map(|t| ("topk_threshold", t)));
        }
        pass
    }

    /// One step on a batch, `[rows, d_in]`.
    ///
    /// # Errors
    /// A loss that is no number, or dead latents that would have to learn from rows that the SAE
    /// normalises; the weights are then as before.
    #[allow(clippy::cast_precision_loss)]
    pub fn step(&mut self, batch: &[f32]) -> Result<Step> {
        let t = self.state.n_training_steps;
        let window = self.settings.feature_sampling_window;
        let boundary = if self.settings.era != Era::V6 { t + 1 } else { t };
        let ended = boundary > 0 && window > 0 && boundary.is_multiple_of(window);
        let ended = ended.then(|| {
            let log = window_log(&self.state.counters);
            self.state.counters.reset_window();
            log
        });
        if self.settings.unit_norm_decoder {
            crate::init::scale_rows(&mut self.state.params, 1.0);
        }
        let d_in = self.state.params.d_in;
        let batch = self.settings.scale.apply(batch, d_in)?;
        let rows = batch.len() / d_in.max(1);
        let dead = self.state.counters.dead(self.settings.dead_feature_window);
        let coefficient = self.settings.coefficient.at(t);
        let n_dead = dead.iter().filter(|dead| **dead).count();
        if n_dead > 0 && self.recipe.needs_raw_rows() && self.settings.normalize.at_run_time() {
            let mode = self.settings.normalize.as_str();
            return Err(Error::NoAuxiliaryLoss { step: t, n_dead, mode });
        }
        let pass = self.pass(&batch, Some(&dead), coefficient);
        if let Some((name, value)) = pass.losses.iter().find(|(_, loss)| !loss.is_finite()) {
            return Err(Error::NotFinite { step: t, name: name.to_string(), value: *value });
        }
        let mut fired = vec![0usize; self.state.params.d_sae];
        pass.codes.indices().iter().for_each(|i| fired[*i as usize] += 1);
        self.state.counters.record(fired.into_iter(), rows);
        let lr = self.settings.lr.at(t);
        let grad_norm = self.state.adam.step(&mut self.state.params, &self.grads, lr);
        self.state.n_training_steps += 1;
        self.state.n_training_samples += rows as u64;
        Ok(Step {
            grad_norm,
            lr,
            coefficient,
            n_dead,
            l0: pass.codes.l0(),
            fit: Fit::new(&batch, &pass.out, d_in),
            window: ended,
            losses: pass.losses,
            metrics: pass.metrics,
        })
    }

    /// What SAELens logs of a step: rates and coefficients are those of the next one.
    pub fn log(&self, step: &Step) -> Log {
        let t = self.state.n_training_steps;
        let coefficient = self.recipe.coefficient();
        let dead = self.state.counters.dead(self.settings.dead_feature_window);
        let facts = StepFacts {
            losses: &step.losses,
            fit: step.fit,
            l0: step.l0,
            learning_rate: self.settings.lr.at(t),
            coefficient: coefficient.map(|name| (name, self.settings.coefficient.at(t))),
            n_training_samples: self.state.n_training_samples,
            n_dead: dead.iter().filter(|dead| **dead).count(),
            era: self.settings.era,
        };
        let mut log = step_log(&facts, &self.state.counters);
        log.extend(step.metrics.iter().map(|(name, value)| (format!("metrics/{name}"), *value)));
        log
    }
}
