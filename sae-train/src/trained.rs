//! `Trained`: what a run has made, and how it is saved.

use std::path::Path;

use candle_core::{Device, Tensor};
use sae_core::hook::HookName;
use sae_core::io::write_atomic;
use sae_core::sae::{Architecture, Normalize, Sae, SaeSpec};
use serde_json::{Value, json};

use crate::Result;
use crate::config::TrainConfig;
use crate::export::to_sae;
use crate::params::Params;
use crate::scale::{Scale, fold};
use crate::trainer::Trainer;

/// The runner's configuration, as SAELens calls it.
pub const RUNNER_CFG_FILE: &str = "runner_cfg.json";

/// A trained SAE.
pub struct Trained {
    /// For inference, reading raw activations: scale, whitening and norms folded, BatchTopK a JumpReLU.
    pub sae: Box<dyn Sae>,
    /// Weights as they were trained, with a scaling factor folded. A whitening is not: where there was one,
    /// these weights read whitened activations.
    pub params: Params,
    /// The threshold of BatchTopK SAEs, with a scaling factor folded.
    pub topk_threshold: Option<f64>,
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

impl Trained {
    /// What the trainer has made of `config`, from activations at `hook`.
    pub(crate) fn new(config: &TrainConfig, hook: HookName, trainer: &Trainer) -> Result<Self> {
        let (state, scale) = (trainer.state(), &trainer.settings().scale);
        let mut params = state.params.clone();
        if config.normalize_sae_decoder {
            crate::init::scale_rows(&mut params, 1.0);
        }
        let mut architecture = config.recipe.architecture();
        let mut topk_threshold = state.topk_threshold;
        if let Some(factor) = scale.factor() {
            fold(&mut params, factor);
            if let Architecture::MatchingPursuit(stop) = &mut architecture {
                // It is compared with norms of activations.
                stop.residual_threshold /= factor;
            }
            if config.recipe.rescales() {
                // It is compared with latents times decoder norms, which the fold has divided.
                topk_threshold = topk_threshold.map(|t| t / factor);
            }
        }
        let (l0, dead) = (state.counters.l0(), state.counters.dead(config.dead_feature_window));
        let num_dead_features = dead.iter().filter(|d| **d).count();
        let mut spec = SaeSpec::new(architecture, params.d_in, params.d_sae);
        spec.apply_b_dec_to_input = config.apply_b_dec_to_input;
        spec.normalize_activations =
            if config.normalize.at_run_time() { config.normalize } else { Normalize::None };
        spec.reshape_activations = config.reshape;
        spec.metadata = config.metadata();
        spec.metadata.insert("l0".to_owned(), json!(l0));
        spec.metadata.insert("num_dead_features".to_owned(), json!(num_dead_features));
        spec.metadata.insert("training_tokens".to_owned(), json!(state.n_training_samples));
        let mut sae = to_sae(spec.at(hook), &params, topk_threshold)?;
        if let Scale::Whitening(whitening) = scale {
            sae.fold_activation_whitening(whitening)?;
        }
        Ok(Self {
            sae,
            params,
            topk_threshold,
            log_sparsity: state.counters.log_density(),
            l0,
            num_dead_features,
            scaling_factor: scale.factor(),
            n_training_steps: state.n_training_steps,
            n_training_samples: state.n_training_samples,
        })
    }

    /// Write the folder that SAELens writes: weights and configuration for inference, sparsity, and the
    /// runner's configuration where it is given.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, dir: &Path, runner: Option<&Value>) -> Result<()> {
        if let Some(runner) = runner {
            write_atomic(&dir.join(RUNNER_CFG_FILE), format!("{runner:#}\n").as_bytes())?;
        }
        let sparsity = sparsity(&self.log_sparsity)?;
        Ok(sae_core::sae_lens::save(dir, self.sae.as_ref(), Some(&sparsity))?)
    }
}

/// As SAELens keeps it: `[d_sae]`, f32.
#[allow(clippy::cast_possible_truncation)] // rounding is meant
pub(crate) fn sparsity(log_density: &[f64]) -> Result<Tensor> {
    let narrow: Vec<f32> = log_density.iter().map(|d| *d as f32).collect();
    Ok(Tensor::new(narrow.as_slice(), &Device::Cpu)?)
}
