//! What can be typed: the commands. Their own arguments stand with each of them.

use clap::{Parser, Subcommand};

use crate::commands::ablate::AblateArgs;
use crate::commands::attribute::AttributeArgs;
use crate::commands::cache::CacheArgs;
use crate::commands::convert::ConvertArgs;
use crate::commands::demo::DemoArgs;
use crate::commands::eval::EvalArgs;
use crate::commands::features::FeatureArgs;
use crate::commands::info::InfoArgs;
use crate::commands::list::ListArgs;
use crate::commands::models::ModelsArgs;
use crate::commands::neuronpedia::Neuronpedia;
use crate::commands::pca::PcaArgs;
use crate::commands::pull::PullArgs;
use crate::commands::push::PushArgs;
use crate::commands::run::RunArgs;
use crate::commands::show_release::ShowArgs;
use crate::commands::stats::StatsArgs;
use crate::commands::steer::SteerArgs;
use crate::commands::train::TrainArgs;

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
    /// Published SAEs: the releases that SAELens knows, or with filters the SAEs themselves.
    List(ListArgs),
    /// A release of published SAEs, or one of them.
    Show(ShowArgs),
    /// Fetch a published SAE into the hub's cache, and see that it loads.
    Pull(PullArgs),
    /// Write an SAE of any known format as a SAELens folder of version 6.
    Convert(ConvertArgs),
    /// Publish SAEs on the hub, as SAELens does.
    ///
    /// Each SAE is one commit, in a folder named as its id; a README.md is written if there is none.
    /// HF_TOKEN must have the right to write.
    Push(PushArgs),
    /// The models that are known by name, with their dimensions.
    Models(ModelsArgs),
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
