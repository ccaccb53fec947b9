//! The subcommands: each a few lines over a library function, with its arguments beside it.

pub(crate) mod ablate;
mod answer;
pub(crate) mod attribute;
pub(crate) mod cache;
pub(crate) mod convert;
mod data;
pub(crate) mod demo;
pub(crate) mod eval;
pub(crate) mod features;
pub(crate) mod info;
pub(crate) mod list;
pub(crate) mod models;
pub(crate) mod neuronpedia;
pub(crate) mod pca;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod run;
pub(crate) mod show_release;
mod stage;
pub(crate) mod stats;
pub(crate) mod steer;
mod tour;
pub(crate) mod train;

use anyhow::Result;

pub(crate) use stage::Stage;

use crate::args::{Args, Command};

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
        Command::List(list) => list::list(list, args.json),
        Command::Show(show) => show_release::show(show, args.json),
        Command::Pull(pull) => pull::pull(pull, args.json),
        Command::Convert(convert) => convert::convert(convert, args.json),
        Command::Push(push) => push::push(push, args.json),
        Command::Models(models) => models::models(models, args.json),
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
