//! The subcommands: each a few lines over a library function.

mod ablate;
mod attribute;
mod cache;
mod data;
mod demo;
mod eval;
mod features;
mod info;
mod neuronpedia;
mod pca;
mod run;
mod stats;
mod steer;
mod tour;
mod train;

use std::sync::Arc;

use anyhow::Result;
use sae_core::sae_lens::{LoadOptions, Loaded};
use sae_models::tokenizer::Tokenizer;
use sae_models::{Decoder, Processing};

use crate::args::{Args, Command, Names};
use crate::named;

/// What is asked when nothing else is.
pub(crate) const PROMPT: &str = "In the beginning, God created the heavens and the";
/// What should come.
pub(crate) const ANSWER: &str = "earth";

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Demo(demo) => demo::demo(demo, args.json),
        Command::Run(run) => run::run(run, args.json),
        Command::Features(features) => features::features(features, args.json),
        Command::Info(info) => info::info(info, args.json),
        Command::Eval(eval) => eval::eval(eval, args.json),
        Command::Stats(stats) => stats::stats(stats, args.json),
        Command::Attribute(attribute) => attribute::attribute(attribute, args.json),
        Command::Steer(steer) => steer::steer(steer, args.json),
        Command::Ablate(ablate) => ablate::ablate(ablate, args.json),
        Command::Pca(pca) => pca::pca(pca, args.json),
        Command::Neuronpedia(command) => neuronpedia::neuronpedia(command, args.json),
        Command::Train(train) => train::train(train, args.json),
        Command::Cache(cache) => cache::cache(cache, args.json),
    }
}

/// A model, its tokenizer and an SAE.
pub(crate) struct Stage {
    pub(crate) model: Decoder,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) sae: Loaded,
}

impl Stage {
    pub(crate) fn load(names: &Names) -> Result<Self> {
        use sae_core::model::HookedModel;
        let processing = if names.no_processing { Processing::NONE } else { Processing::DEFAULT };
        let folder = named::model(&names.model)?;
        let model = Decoder::load(&folder, processing)?;
        let tokenizer = Arc::new(Tokenizer::load(&folder, model.spec().n_ctx)?);
        let sae = sae_core::sae_lens::load(&named::sae(&names.sae)?, LoadOptions::default())?;
        for note in &sae.report.notes {
            eprintln!("note: {}: {note}", names.sae);
        }
        Ok(Self { model, tokenizer, sae })
    }
}
