//! `sae train`: from a SAELens configuration to a SAELens folder.

use std::fs::File;
use std::io::LineWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sae_core::hook::PosSlice;
use sae_core::metric::JsonLines;
use sae_core::source::ActivationSource;
use sae_models::Processing;
use sae_store::{Cached, Harvest, Live, MixOptions, Order, PackOptions};
use sae_train::config::{Exclude, Separator};
use sae_train::{Checkpoint, Outcome, Step, Surroundings, TrainConfig, Trained, Trainer, fit};
use serde_json::json;

use super::stage::Weights;
use crate::progress::Counted;
use crate::{interrupt, show, tokens};

#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// The configuration: SAELens 6 (with an object `sae`) or of its time before; without one, a
    /// small TopK SAE is trained on the built-in model.
    pub(crate) config: Option<PathBuf>,
    /// Where the SAE, its metrics and checkpoints go.
    #[arg(long, default_value = "output")]
    pub(crate) output: PathBuf,
    /// The model, if not the configuration's `model_name`: a folder, a hub id, or `demo`.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The dataset, if not the configuration's `dataset_path`: a .txt, .jsonl or .parquet file, or
    /// `demo`.
    #[arg(long)]
    pub(crate) dataset: Option<String>,
    /// The column of the dataset; `tokens`, `input_ids`, `text` and `problem` are looked for.
    #[arg(long)]
    pub(crate) column: Option<String>,
    /// Read activations from this cache instead of running the model.
    #[arg(long, conflicts_with_all = ["model", "dataset", "column"])]
    pub(crate) cache: Option<PathBuf>,
    /// Train on so many tokens instead of the configuration's `training_tokens`.
    #[arg(long)]
    pub(crate) tokens: Option<u64>,
    #[command(flatten)]
    pub(crate) weights: Weights,
}

/// The configuration that is trained when none is given: a small TopK SAE on the built-in model.
const DEMO_CONFIG: &str = include_str!("../../assets/train.json");
/// Forward passes that may be ahead of the training.
const AHEAD: usize = 1;
/// What version 5 and 6 of SAELens call the built-in model and its text.
const DEMO: &str = "demo";

pub(crate) fn train(args: &TrainArgs, as_json: bool) -> Result<()> {
    let (file, content) = match &args.config {
        Some(path) => {
            let file = path.display().to_string();
            let content = std::fs::read(path).with_context(|| file.clone())?;
            (file, content)
        }
        None => ("the demo's configuration".to_owned(), DEMO_CONFIG.as_bytes().to_vec()),
    };
    let mut config = TrainConfig::parse(&file, &content)?;
    let mut runner: serde_json::Value = serde_json::from_slice(&content)?;
    if let Some(tokens) = args.tokens {
        config.training_tokens = tokens;
        runner["training_tokens"] = tokens.into();
    }
    let stop = interrupt::flag()?;
    let bar = Counted::new("training", config.training_tokens);
    let mut on_step = |trainer: &Trainer, step: &Step| {
        let mse = step.losses.first().map_or(0.0, |(_, loss)| *loss);
        bar.at(trainer.state().n_training_samples, || {
            format!("mse {mse:.3}, l0 {:.1}, dead {}", step.l0, step.n_dead)
        });
    };
    let outcome = with_source(args, &config, |source| {
        // Nothing is written before there are activations to train on.
        let checkpoints = args.output.join("checkpoints");
        std::fs::create_dir_all(&args.output).with_context(|| args.output.display().to_string())?;
        let metrics = args.output.join("metrics.jsonl");
        let mut sink =
            metrics_file(&metrics, &checkpoints).with_context(|| metrics.display().to_string())?;
        let around = Surroundings {
            sink: Some(&mut sink),
            checkpoints: Some(&checkpoints),
            stop: Some(&stop),
            on_step: Some(&mut on_step),
        };
        Ok(fit(&config, source, around)?)
    })?;
    bar.finish();
    match outcome {
        Outcome::Done(trained) => {
            trained.save(&args.output, Some(&runner))?;
            show::caveat(trained.sae.spec());
            tell(args, &trained, as_json)
        }
        Outcome::Stopped { rows } => {
            eprintln!("stopped after {rows} rows; the same command goes on from there");
            Ok(())
        }
    }
}

/// The file of metrics, without the lines that will be written again after the latest checkpoint.
fn metrics_file(path: &Path, checkpoints: &Path) -> Result<JsonLines<LineWriter<File>>> {
    let latest = Checkpoint::latest(checkpoints)?;
    let rows = latest.and_then(|p| p.file_name()?.to_str()?.parse::<f64>().ok()).unwrap_or(0.0);
    let text = if path.is_file() { std::fs::read_to_string(path)? } else { String::new() };
    let before = |line: &&str| {
        let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let samples = value.and_then(|v| v["details/n_training_samples"].as_f64());
        samples.is_some_and(|samples| samples <= rows)
    };
    let kept: String = text.lines().filter(before).map(|line| format!("{line}\n")).collect();
    sae_core::io::write_atomic(path, kept.as_bytes())?;
    Ok(JsonLines(LineWriter::new(File::options().append(true).open(path)?)))
}

/// Run `act` with activations from a cache, or from the model on the dataset.
fn with_source<T>(
    args: &TrainArgs,
    config: &TrainConfig,
    act: impl FnOnce(&mut dyn ActivationSource) -> Result<T>,
) -> Result<T> {
    if let Some(path) = &args.cache {
        let mut cached = Cached::open(path, Order::Shuffled { seed: config.seed })?;
        if let Some(hook) = config.hook.filter(|h| *h != cached.info().hook) {
            let there = cached.info().hook;
            bail!("{}: holds `{there}`, the configuration wants `{hook}`", path.display());
        }
        fits(args, config, path, &cached)?;
        return act(&mut cached);
    }
    let name = args.model.as_deref().or(config.model_name.as_deref()).unwrap_or(DEMO);
    let (model, tokenizer) = args.weights.load(name, Processing::DEFAULT)?;
    let dataset = args.dataset.as_deref().or(config.dataset_path.as_deref()).unwrap_or(DEMO);
    let dataset = tokens::dataset(dataset, args.column.as_deref())?;
    let special = tokenizer.special();
    let packing = PackOptions {
        separator: match config.separator {
            Separator::Bos => Some(special.bos_id),
            Separator::Eos => Some(special.eos_id),
            Separator::Token(id) => Some(id),
            Separator::None => None,
        },
        disable_concat: config.disable_concat_sequences,
        ..tokens::packing(&tokenizer, config.context_size, config.prepend_bos)
    };
    let rows = tokens::rows(dataset, &tokenizer, packing)?;
    let hook = config.hook.context("the configuration names no `hook_name`")?;
    let mut harvest = Harvest { head: config.head, ..Harvest::at(hook) };
    harvest.exclude = match &config.exclude_special_tokens {
        Exclude::Nothing => Vec::new(),
        Exclude::Special => tokens::special(&tokenizer),
        Exclude::Tokens(ids) => ids.clone(),
    };
    let (start, stop, step) = config.seqpos_slice.bounds();
    let [start, stop, step] = [start, stop, step].map(|i| i.map(isize::try_from).transpose());
    harvest.positions = PosSlice::Range { start: start?, stop: stop?, step: step? };
    let mix = MixOptions {
        buffer_size: config.n_batches_in_buffer * config.seqpos_slice.count(config.context_size),
        batch_size: config.batch_rows,
        mix_fraction: config.mixing_fraction,
        seed: config.seed,
    };
    let live = Live::new(&model, rows, harvest, config.store_batch_size_prompts, mix)?;
    live.ahead(AHEAD, |source| act(source))
}

/// A cache must be of the model and the prompts that the configuration names.
fn fits(args: &TrainArgs, config: &TrainConfig, path: &Path, cached: &Cached) -> Result<()> {
    let info = cached.info();
    let want = config.model_name.as_deref().map(|name| args.weights.named(name));
    if let Some(want) = want.filter(|want| *want != info.model) {
        let (path, there) = (path.display(), &info.model);
        bail!(
            "{path}: holds activations of `{there}`, `model_name` wants `{want}`; if they are the same, \
             name the model as the cache does"
        );
    }
    let (there, want) = (info.context_size, config.context_size);
    if there != want {
        bail!("{}: prompts have {there} tokens, `context_size` wants {want}", path.display());
    }
    Ok(())
}

fn tell(args: &TrainArgs, trained: &Trained, as_json: bool) -> Result<()> {
    let spec = trained.sae.spec();
    let facts = json!({
        "output": args.output,
        "architecture": spec.architecture_name(),
        "d_in": spec.d_in,
        "d_sae": spec.d_sae,
        "training_tokens": trained.n_training_samples,
        "steps": trained.n_training_steps,
        "l0": trained.l0,
        "num_dead_features": trained.num_dead_features,
        "scaling_factor": trained.scaling_factor,
    });
    if as_json {
        return show::json(&facts);
    }
    show::line(fields(&facts))?;
    Ok(show::line(format!("\nNext: `sae info --sae {}`.", shown(&args.output)))?)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A table of the fields of an object.
pub(super) fn fields(object: &serde_json::Value) -> comfy_table::Table {
    let mut table = show::table(&["field", "value"]);
    for (field, value) in object.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        table.add_row([field.clone(), text]);
    }
    table
}
