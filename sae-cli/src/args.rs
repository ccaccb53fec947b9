//! What can be typed.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Sparse autoencoders (SAEs) on language models.
///
/// Run a model with SAEs spliced in, see which features fire and what they promote. Models and SAEs
/// are named by folder (`./gpt2`), by hub id (`openai-community/gpt2`, and for an SAE
/// `jbloom/GPT2-Small-SAEs-Reformatted/blocks.7.hook_resid_pre`), or by `demo`: the small model and
/// SAE built into this program.
#[derive(Debug, Parser)]
#[command(name = "sae", version, after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print one JSON document instead of tables.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  sae demo
  sae run --prompt \"In the beginning, God created the heavens and the\" --answer earth
  sae features --prompt \"The lamb and the wolf\" --position -1 --top 5
  sae info --sae ./my-sae --json
  sae train --output my-sae
  sae cache --hook blocks.2.hook_resid_pre --tokens 100000 --output acts.bin";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The workshop in short on the built-in model and SAE: how well does the SAE stand in for what it
    /// reads, which features fire, what do they mean and do?
    ///
    /// With --json only the first stage. With --output a small SAE is trained, and everything is also
    /// on a page, with figures.
    Demo(DemoArgs),
    /// Ask the model to continue a prompt, without the SAE, with it, and with its error term.
    ///
    /// Each answer token is judged where the model would have to say it: its rank, logit and
    /// probability, and the likeliest tokens beside it. If the SAE is good, its column is close to
    /// the plain one; with the error term it must equal it.
    Run(RunArgs),
    /// The strongest features at one position, and the tokens each promotes.
    Features(FeatureArgs),
    /// The configuration of an SAE.
    Info(InfoArgs),
    /// How good an SAE is: SAELens' metrics on a dataset.
    Eval(EvalArgs),
    /// How often, how strongly and where features fire on a dataset.
    Stats(StatsArgs),
    /// Which features a prediction depends on: gradient times activation.
    Attribute(AttributeArgs),
    /// Continue a prompt with and without a feature's direction added.
    Steer(SteerArgs),
    /// What an answer loses when features are set to zero, with and without the error term.
    Ablate(AblateArgs),
    /// The shape that a few features span: principal components of what they write.
    Pca(PcaArgs),
    /// Pages of features on Neuronpedia, and calls to it.
    ///
    /// Calls that need a key take it from NEURONPEDIA_API_KEY.
    #[command(subcommand)]
    Neuronpedia(Neuronpedia),
    /// Train an SAE from a SAELens configuration, on a running model or on a cache.
    ///
    /// Writes a SAELens folder, metrics under SAELens' names as JSON lines, and checkpoints. The same
    /// command goes on after Ctrl-C or a kill, to the same bits.
    Train(TrainArgs),
    /// Write the activations of a model on a dataset to one memory-mapped file.
    ///
    /// The same command goes on after Ctrl-C or a kill, to the same bytes.
    Cache(CacheArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DemoArgs {
    /// Train a small SAE here, and write the tour as `index.html`.
    #[arg(long)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Names {
    /// The model: a folder, a hub id, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) model: String,
    /// The SAE: a folder, a hub id with a path, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) sae: String,
    /// Use the weights as published, without TransformerLens' default processing.
    #[arg(long)]
    pub(crate) no_processing: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    /// The prompt.
    #[arg(long, default_value = crate::commands::PROMPT)]
    pub(crate) prompt: String,
    /// The answer to judge; repeat it to compare the first tokens of several.
    #[arg(long, default_value = crate::commands::ANSWER)]
    pub(crate) answer: Vec<String>,
    /// How many of the likeliest tokens to show.
    #[arg(long, default_value_t = 10)]
    pub(crate) top: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct FeatureArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    /// The prompt.
    #[arg(long, default_value = crate::commands::PROMPT)]
    pub(crate) prompt: String,
    /// The position, counted from 0 with the BOS token; negative from the end.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub(crate) position: isize,
    /// How many features to show.
    #[arg(long, default_value_t = 5)]
    pub(crate) top: usize,
    /// How many promoted tokens to show of each.
    #[arg(long, default_value_t = 8)]
    pub(crate) tokens: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct InfoArgs {
    /// The SAE: a folder, a hub id with a path, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) sae: String,
}

#[derive(Debug, ClapArgs)]
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
    /// Use the weights as published, without TransformerLens' default processing.
    #[arg(long)]
    pub(crate) no_processing: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CacheArgs {
    /// The model: a folder, a hub id, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) model: String,
    /// The hook whose activations are wanted.
    #[arg(long, default_value = "blocks.2.hook_resid_pre")]
    pub(crate) hook: String,
    /// The dataset: a .txt, .jsonl or .parquet file, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) dataset: String,
    /// The column of the dataset; `tokens`, `input_ids`, `text` and `problem` are looked for.
    #[arg(long)]
    pub(crate) column: Option<String>,
    /// How many tokens.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) tokens: u64,
    /// Tokens per prompt.
    #[arg(long, default_value_t = 256)]
    pub(crate) context_size: usize,
    /// Prompts per pass of the model.
    #[arg(long, default_value_t = 16)]
    pub(crate) batch_prompts: usize,
    /// Let prompts begin without BOS.
    #[arg(long)]
    pub(crate) no_bos: bool,
    /// Keep the activations at BOS, EOS and padding.
    #[arg(long)]
    pub(crate) keep_special_tokens: bool,
    /// Use the weights as published, without TransformerLens' default processing.
    #[arg(long)]
    pub(crate) no_processing: bool,
    /// The file to write.
    #[arg(long)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DataArgs {
    /// The dataset: a .txt, .jsonl or .parquet file, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) dataset: String,
    /// The column of the dataset; `tokens`, `input_ids`, `text` and `problem` are looked for.
    #[arg(long)]
    pub(crate) column: Option<String>,
    /// Tokens per prompt.
    #[arg(long, default_value_t = 128)]
    pub(crate) context_size: usize,
    /// Prompts per pass of the model.
    #[arg(long, default_value_t = 16)]
    pub(crate) batch_prompts: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Batches for the model's predictions.
    #[arg(long, default_value_t = 2)]
    pub(crate) reconstruction_batches: usize,
    /// Batches for activations alone.
    #[arg(long, default_value_t = 4)]
    pub(crate) sparsity_batches: usize,
    /// Count BOS, EOS and padding too.
    #[arg(long)]
    pub(crate) all_tokens: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Features to show; without any, those that fire most strongly.
    #[arg(long)]
    pub(crate) feature: Vec<usize>,
    /// How many of the strongest to show.
    #[arg(long, default_value_t = 10)]
    pub(crate) top: usize,
    /// Contexts to keep of each feature.
    #[arg(long, default_value_t = 5)]
    pub(crate) contexts: usize,
    /// Batches to read.
    #[arg(long, default_value_t = 16)]
    pub(crate) batches: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AttributeArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    /// The prompt.
    #[arg(long, default_value = crate::commands::PROMPT)]
    pub(crate) prompt: String,
    /// The answer, a single token.
    #[arg(long, default_value = crate::commands::ANSWER)]
    pub(crate) answer: String,
    /// Another single token whose logit is subtracted.
    #[arg(long)]
    pub(crate) against: Option<String>,
    /// Attribute without the error term.
    #[arg(long)]
    pub(crate) no_error_term: bool,
    /// How many to show.
    #[arg(long, default_value_t = 10)]
    pub(crate) top: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SteerArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The feature.
    #[arg(long, default_value_t = 1712)]
    pub(crate) feature: usize,
    /// How much of the feature's largest activation is added; negative to push it away.
    #[arg(long, default_value_t = 2.0, allow_negative_numbers = true)]
    pub(crate) strength: f64,
    /// The prompt.
    #[arg(long, default_value = "And it came to pass")]
    pub(crate) prompt: String,
    /// Tokens to add.
    #[arg(long, default_value_t = 40)]
    pub(crate) tokens: usize,
    /// 0 takes the likeliest token always.
    #[arg(long, default_value_t = 0.7)]
    pub(crate) temperature: f64,
    /// Seed of the sampling.
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Batches in which the largest activation is looked for.
    #[arg(long, default_value_t = 8)]
    pub(crate) batches: usize,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AblateArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    /// The prompt.
    #[arg(long, default_value = crate::commands::PROMPT)]
    pub(crate) prompt: String,
    /// The answer; its first token is judged.
    #[arg(long, default_value = crate::commands::ANSWER)]
    pub(crate) answer: String,
    /// Features to set to zero, one at a time and all together; without any, the strongest at the last
    /// position.
    #[arg(long)]
    pub(crate) feature: Vec<usize>,
    /// How many of the strongest.
    #[arg(long, default_value_t = 5)]
    pub(crate) top: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Neuronpedia {
    /// The address of a feature's dashboard, and of the dashboard for a notebook. Asks nobody.
    Url {
        /// The feature, as in `gpt2-small/7-res-jb/123`.
        feature: String,
    },
    /// The address of a page with several features. Asks nobody.
    QuickList {
        /// The features, as in `gpt2-small/7-res-jb/123`.
        #[arg(required = true)]
        features: Vec<String>,
        /// What the page is called.
        #[arg(long)]
        name: Option<String>,
    },
    /// What Neuronpedia knows of a feature.
    Feature {
        /// The feature, as in `gpt2-small/7-res-jb/123`.
        feature: String,
    },
    /// Features whose explanation is close to some words.
    Search {
        /// The words.
        query: String,
        /// Neuronpedia's name of the model.
        #[arg(long, default_value = "gpt2-small")]
        model: String,
        /// Only in these SAEs, as in `6-res-jb`.
        #[arg(long)]
        sae: Vec<String>,
    },
    /// Continue a prompt there, with and without features.
    Steer(NeuronpediaSteerArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NeuronpediaSteerArgs {
    /// The features, as in `gpt2-small/7-res-jb/123`.
    #[arg(long, required = true)]
    pub(crate) feature: Vec<String>,
    /// How strongly each is added.
    #[arg(long, default_value_t = 10.0, allow_negative_numbers = true)]
    pub(crate) strength: f64,
    /// Times every strength.
    #[arg(long, default_value_t = 4.0)]
    pub(crate) multiplier: f64,
    /// The prompt.
    #[arg(long)]
    pub(crate) prompt: String,
    /// Tokens to add.
    #[arg(long, default_value_t = 48)]
    pub(crate) tokens: u32,
    /// Temperature of the sampling.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) temperature: f64,
    /// Seed of the sampling.
    #[arg(long, default_value_t = 16)]
    pub(crate) seed: i64,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PcaArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The features; without any, the five strongest on the last word of the demo's prompt.
    #[arg(long)]
    pub(crate) feature: Vec<usize>,
    /// Batches to read.
    #[arg(long, default_value_t = 2)]
    pub(crate) batches: usize,
    /// Write a figure here, with the tokens under the pointer.
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
}
