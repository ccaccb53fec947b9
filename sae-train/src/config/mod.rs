//! `TrainConfig`: SAELens' runner configurations, of version 6 and of the workshop's time.
//!
//! Everything that is wrong with a configuration is reported at once, fields that do not exist
//! included.

mod data;
mod describe;
mod read_recipe;
mod reader;
mod recipes;
mod sae;

use std::path::{Path, PathBuf};

use sae_core::hook::HookName;
use sae_core::sae::{Normalize, Reshape};
use serde_json::{Map, Value};

pub use data::{Exclude, Separator, SeqPos};
pub use recipes::{Era, Nested, RecipeConfig};
pub use sae::{SaeConfig, read_sae};

use crate::Error;
use crate::adam::Betas;
use crate::scale::Scale;
use crate::schedule::{Coefficient, LrSchedule, MainPhase};
use crate::trainer::Settings;
use reader::Reader;
use sae::sae_fields;

/// How wide the dictionary is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DictionarySize {
    /// `d_sae`
    Latents(usize),
    /// `d_in` times this.
    Expansion(usize),
}

/// How `b_dec` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BiasInit {
    /// At zero.
    Zeros,
    /// At the mean of a sample of activations.
    Mean,
    /// At their geometric median.
    GeometricMedian,
}

/// How the weights begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Init {
    /// `W_dec` begins with orthonormal columns (rows, if those are fewer).
    pub decoder_orthogonal: bool,
    /// Rows of `W_dec` are scaled to this norm; `None` leaves them as drawn.
    pub decoder_norm: Option<f64>,
    /// `W_enc` begins as the transpose of `W_dec`.
    pub encoder_as_decoder_transpose: bool,
    /// How `b_dec` begins.
    pub b_dec: BiasInit,
}

/// A training run, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// Losses.
    pub recipe: RecipeConfig,
    /// Whose rules.
    pub era: Era,
    /// Width of the input, if the configuration says.
    pub d_in: Option<usize>,
    /// Width of the dictionary.
    pub size: DictionarySize,
    /// Whether the encoder sees `x - b_dec`.
    pub apply_b_dec_to_input: bool,
    /// What is done to activations first.
    pub normalize: Normalize,
    /// How activations are reshaped before the trained SAE sees them. (In training they come flat.)
    pub reshape: Reshape,
    /// How the weights begin.
    pub init: Init,
    /// Rows of `W_dec` are set to norm 1 before every step.
    pub normalize_sae_decoder: bool,
    /// Squared errors are divided by the row's distance to the batch mean.
    pub dense_batch_mse: bool,
    /// The model, as the configuration calls it.
    pub model_name: Option<String>,
    /// Where activations are taken.
    pub hook: Option<HookName>,
    /// One head of several.
    pub head: Option<usize>,
    /// One prompt per document at most.
    pub disable_concat_sequences: bool,
    /// What stands between two documents in one prompt.
    pub separator: Separator,
    /// The dataset, as the configuration calls it.
    pub dataset_path: Option<String>,
    /// Tokens per prompt.
    pub context_size: usize,
    /// Prompts begin with BOS.
    pub prepend_bos: bool,
    /// Activations to train on.
    pub training_tokens: u64,
    /// Activations per step.
    pub batch_rows: usize,
    /// Prompts per forward pass of the model.
    pub store_batch_size_prompts: usize,
    /// Batches of contexts in the mixing buffer.
    pub n_batches_in_buffer: usize,
    /// Share of the buffer that stays when it is served.
    pub mixing_fraction: f64,
    /// Tokens at which activations are left out.
    pub exclude_special_tokens: Exclude,
    /// The positions of each prompt that are wanted.
    pub seqpos_slice: SeqPos,
    /// Weights to begin with: a folder of SAELens, or a checkpoint.
    pub from_pretrained_path: Option<PathBuf>,
    /// Learning rate: from, to (`lr_end`), shape, warm-up and decay steps.
    pub lr: (f64, f64),
    /// What the learning rate does between warm-up and decay.
    pub phase: MainPhase,
    /// Warm-up and decay steps of the learning rate.
    pub lr_steps: (u64, u64),
    /// The sparsity coefficient.
    pub coefficient: Coefficient,
    /// Adam's decay rates.
    pub betas: Betas,
    /// Batches without firing after which a latent is dead.
    pub dead_feature_window: u64,
    /// Steps after which densities are counted afresh.
    pub feature_sampling_window: u64,
    /// Batches from which the norm of activations is estimated.
    pub n_batches_for_norm_estimate: u64,
    /// Seed of everything random.
    pub seed: u64,
    /// Checkpoints to write on the way.
    pub n_checkpoints: u64,
    /// Steps between lines of metrics.
    pub log_frequency: u64,
}

/// Fields of SAELens that have no meaning here: devices, compilers, hosted logging.
const WITHOUT_MEANING: [&str; 35] = [
    "act_store_device",
    "autocast",
    "autocast_lm",
    "checkpoint_path",
    "compile_llm",
    "compile_sae",
    "dataset_trust_remote_code",
    "dead_feature_threshold",
    "device",
    "eval_batch_size_prompts",
    "eval_every_n_wandb_logs",
    "hook_eval",
    "hook_layer",
    "is_dataset_tokenized",
    "llm_compilation_mode",
    "llm_device",
    "log_to_wandb",
    "log_weights_to_wandb",
    "model_class_name",
    "model_from_pretrained_kwargs",
    "model_kwargs",
    "n_eval_batches",
    "output_path",
    "prefetch_llm_batches",
    "resume",
    "resume_from_checkpoint",
    "run_name",
    "sae_compilation_mode",
    "save_final_checkpoint",
    "streaming",
    "verbose",
    "wandb_entity",
    "wandb_id",
    "wandb_project",
    "metadata",
];

/// Fields of SAELens that are not built, and the values at which they do nothing.
const NOT_BUILT: [(&str, &[&str]); 6] = [
    ("finetuning_method", &[]),
    ("finetuning_tokens", &["0"]),
    ("noise_scale", &["0", "0.0"]),
    ("use_cached_activations", &["false"]),
    ("use_chat_formatting", &["false"]),
    ("dtype", &["\"float32\"", "\"torch.float32\""]),
];

type Result<T, E = Error> = std::result::Result<T, E>;

impl TrainConfig {
    /// Read a configuration: JSON in the form of SAELens 6 (with an object `sae`) or of the workshop
    /// (everything in one object).
    ///
    /// # Errors
    /// Not JSON, or all that is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let content =
            std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::parse(&path.display().to_string(), &content)
    }

    /// As [`TrainConfig::read`]; `file` stands in messages.
    ///
    /// # Errors
    /// Not JSON, or all that is wrong with it.
    pub fn parse(file: &str, content: &[u8]) -> Result<Self> {
        let wrong =
            |problem: String| Error::Config { file: file.to_owned(), problems: vec![problem] };
        let value: Value =
            serde_json::from_slice(content).map_err(|e| wrong(format!("not JSON: {e}")))?;
        let map = value.as_object().ok_or_else(|| wrong("not a JSON object".to_owned()))?;
        let (config, problems) = match map.get("sae").and_then(Value::as_object) {
            Some(sae) => Self::nested(map, sae),
            None => Self::flat(map),
        };
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Error::Config { file: file.to_owned(), problems }),
        }
    }

    fn nested(map: &Map<String, Value>, sae: &Map<String, Value>) -> (Option<Self>, Vec<String>) {
        let mut run = Reader::new(map, "");
        let mut fields = Reader::new(sae, "sae.");
        run.get("sae");
        let config = Self::gather(&mut run, Some(&mut fields), Era::V6);
        let mut problems = fields.finish(&WITHOUT_MEANING);
        problems.extend(run.finish(&WITHOUT_MEANING));
        (config, problems)
    }

    fn flat(map: &Map<String, Value>) -> (Option<Self>, Vec<String>) {
        let mut run = Reader::new(map, "");
        let config = Self::gather(&mut run, None, Era::V5);
        (config, run.finish(&WITHOUT_MEANING))
    }

    /// `sae` holds the fields of the SAE where they are apart.
    fn gather(run: &mut Reader<'_>, sae: Option<&mut Reader<'_>>, era: Era) -> Option<Self> {
        let current = era == Era::V6;
        let own = match sae {
            Some(sae) => sae_fields(sae, era),
            None => sae_fields(run, era),
        };
        let lr = run.amount("lr", 3e-4);
        let lr_end = run.number("lr_end").unwrap_or(lr / 10.0);
        let cycles = run.positive("n_restart_cycles", 1);
        let name = run.text("lr_scheduler_name").unwrap_or("constant");
        let phase = MainPhase::named(name, cycles);
        if let Err(e) = &phase {
            run.problem("lr_scheduler_name", e);
        }
        let hook = run.text("hook_name").map(str::parse::<HookName>);
        if let Some(Err(e)) = &hook {
            run.problem("hook_name", e);
        }
        not_built(run);
        let head = run.count("hook_head_index").map(size);
        let disable_concat_sequences = run.flag("disable_concat_sequences", false);
        let separator = Separator::read(run);
        let seqpos_slice = SeqPos::read(run);
        let counts = Counts::read(run);
        let mixing_fraction = run.amount("activations_mixing_fraction", 0.5);
        if mixing_fraction > 1.0 {
            run.problem("activations_mixing_fraction", "must be at most 1");
        }
        let betas = Betas {
            beta1: run.amount("adam_beta1", if current { 0.9 } else { 0.0 }),
            beta2: run.amount("adam_beta2", 0.999),
        };
        let (model_name, dataset_path) = (run.text("model_name"), run.text("dataset_path"));
        let prepend_bos = run.flag("prepend_bos", true);
        let exclude_special_tokens = Exclude::read(run);
        let from_pretrained_path = run.text("from_pretrained_path").map(PathBuf::from);
        // Everything has been read: from here on, what is missing ends it.
        let config = Self {
            recipe: own.recipe?,
            era,
            d_in: own.d_in,
            size: own.size?,
            apply_b_dec_to_input: own.apply_b_dec_to_input,
            normalize: own.normalize,
            reshape: own.reshape,
            init: own.init,
            normalize_sae_decoder: own.normalize_sae_decoder,
            dense_batch_mse: own.dense_batch_mse,
            model_name: model_name.map(str::to_owned),
            hook: hook.and_then(std::result::Result::ok),
            head,
            disable_concat_sequences,
            separator,
            dataset_path: dataset_path.map(str::to_owned),
            context_size: size(counts.context_size),
            prepend_bos,
            training_tokens: counts.training_tokens,
            batch_rows: size(counts.batch_rows),
            store_batch_size_prompts: size(counts.store_batch_size_prompts),
            n_batches_in_buffer: size(counts.n_batches_in_buffer),
            mixing_fraction,
            exclude_special_tokens,
            seqpos_slice,
            from_pretrained_path,
            lr: (lr, lr_end),
            phase: phase.ok()?,
            lr_steps: counts.lr_steps,
            coefficient: own.coefficient,
            betas,
            dead_feature_window: counts.dead_feature_window,
            feature_sampling_window: counts.feature_sampling_window,
            n_batches_for_norm_estimate: counts.n_batches_for_norm_estimate,
            seed: counts.seed,
            n_checkpoints: counts.n_checkpoints,
            log_frequency: counts.log_frequency,
        };
        if let Err(e) = config.schedule() {
            run.problem("lr_warm_up_steps", e);
        }
        config.contradictions(run);
        Some(config)
    }

    /// What no run can be.
    fn contradictions(&self, run: &mut Reader<'_>) {
        let recipe = self.recipe.build(self.apply_b_dec_to_input);
        if recipe.needs_raw_rows()
            && self.normalize.at_run_time()
            && self.dead_feature_window < self.steps()
        {
            let (name, mode) = (recipe.name(), self.normalize.as_str());
            let steps = self.steps();
            run.problem(
                "normalize_activations",
                format_args!(
                    "is `{mode}`, under which {name} has no auxiliary loss for dead latents; use another, \
                     or a `dead_feature_window` of {steps} steps, so that no latent counts as dead"
                ),
            );
        }
        if self.seqpos_slice.count(self.context_size) == 0 {
            let context = self.context_size;
            run.problem("seqpos_slice", format_args!("leaves none of {context} positions"));
        }
        if self.normalize_sae_decoder {
            if self.init.decoder_norm.is_some() {
                let what =
                    "sets the norms that `normalize_sae_decoder` sets to 1; one must be false";
                run.problem("decoder_heuristic_init", what);
            }
            if matches!(self.recipe, RecipeConfig::Standard { scale_by_decoder_norm: true, .. }) {
                let what =
                    "weighs by norms that `normalize_sae_decoder` sets to 1; one must be false";
                run.problem("scale_sparsity_penalty_by_decoder_norm", what);
            }
        }
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.training_tokens / self.batch_rows as u64
    }

    /// The learning rate's schedule.
    ///
    /// # Errors
    /// Warm-up and decay do not fit.
    pub fn schedule(&self) -> Result<LrSchedule> {
        Ok(LrSchedule::new(self.phase, self.lr, self.steps(), self.lr_steps)?)
    }

    /// Width of the dictionary for inputs of width `d_in`.
    pub fn d_sae(&self, d_in: usize) -> usize {
        match self.size {
            DictionarySize::Latents(d_sae) => d_sae,
            DictionarySize::Expansion(factor) => factor * d_in,
        }
    }

    /// What a trainer needs to know; `scale` is what is done to activations first.
    ///
    /// # Errors
    /// Warm-up and decay do not fit.
    pub fn settings(&self, scale: Scale) -> Result<Settings> {
        Ok(Settings {
            batch_rows: self.batch_rows,
            lr: self.schedule()?,
            coefficient: self.coefficient,
            betas: self.betas,
            normalize: self.normalize,
            dead_feature_window: self.dead_feature_window,
            feature_sampling_window: self.feature_sampling_window,
            scale,
            unit_norm_decoder: self.normalize_sae_decoder,
            dense_batch_mse: self.dense_batch_mse,
            era: self.era,
        })
    }
}

/// The whole numbers of a run.
struct Counts {
    context_size: u64,
    training_tokens: u64,
    batch_rows: u64,
    store_batch_size_prompts: u64,
    n_batches_in_buffer: u64,
    lr_steps: (u64, u64),
    dead_feature_window: u64,
    feature_sampling_window: u64,
    n_batches_for_norm_estimate: u64,
    seed: u64,
    n_checkpoints: u64,
    log_frequency: u64,
}

impl Counts {
    /// With SAELens' defaults.
    fn read(run: &mut Reader<'_>) -> Self {
        Self {
            context_size: run.positive("context_size", 128),
            training_tokens: run.positive("training_tokens", 2_000_000),
            batch_rows: run.positive("train_batch_size_tokens", 4096),
            store_batch_size_prompts: run.positive("store_batch_size_prompts", 32),
            n_batches_in_buffer: run.positive("n_batches_in_buffer", 20),
            lr_steps: (
                run.count("lr_warm_up_steps").unwrap_or(0),
                run.count("lr_decay_steps").unwrap_or(0),
            ),
            dead_feature_window: run.count("dead_feature_window").unwrap_or(1000),
            feature_sampling_window: run.positive("feature_sampling_window", 2000),
            n_batches_for_norm_estimate: run.count("n_batches_for_norm_estimate").unwrap_or(1000),
            seed: run.count("seed").unwrap_or(42),
            n_checkpoints: run.count("n_checkpoints").unwrap_or(0),
            log_frequency: log_frequency(run),
        }
    }
}

/// What is not built must not be asked for.
fn not_built(run: &mut Reader<'_>) {
    for (field, neutral) in NOT_BUILT {
        if let Some(value) = run.get(field).filter(|v| !neutral.contains(&v.to_string().as_str())) {
            run.problem(field, format_args!("is {value}, which is not built; leave it out"));
        }
    }
}

/// Steps between lines of metrics; version 6 has it apart, with the logger's other fields.
fn log_frequency(run: &mut Reader<'_>) -> u64 {
    let logger = run.get("logger").and_then(|l| l.get("wandb_log_frequency"));
    match logger.and_then(Value::as_u64).filter(|n| *n > 0) {
        Some(steps) => steps,
        None => run.positive("wandb_log_frequency", 10),
    }
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
