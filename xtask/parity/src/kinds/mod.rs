//! The kinds of case: for each a function from the case to what the library computes.

mod activations_store;
mod attribution;
mod cache_options;
mod edits;
mod eval_metrics;
mod evals;
mod feature_stats;
mod generate;
mod hooked_forward;
mod init;
mod mixing_buffer;
mod run_with_saes;
mod sae_cfg;
mod sae_fold;
mod sae_forward;
mod sae_load;
mod sae_train_step;
mod sampling_distribution;
mod schedules;
mod test_prompt;
mod tokenizer;
mod tokens;
mod train_fit;
mod train_metrics;
mod weight_processing;

use anyhow::Result;

use crate::case::{Case, Outputs};

/// Computes what a case asks for.
pub(crate) type Runner = fn(&Case) -> Result<Outputs>;

/// The runner of a kind, if it is built.
pub(crate) fn runner(kind: &str) -> Option<Runner> {
    Some(match kind {
        "activations-store" => activations_store::run,
        "attribution" => attribution::run,
        "cache-options" => cache_options::run,
        "eval-metrics" => eval_metrics::run,
        "evals" => evals::run,
        "feature-stats" => feature_stats::run,
        "generate" => generate::run,
        "hooked-forward" => hooked_forward::run,
        "init" => init::run,
        "mixing-buffer" => mixing_buffer::run,
        "run-with-saes" => run_with_saes::run,
        "sae-fold" => sae_fold::run,
        "sae-forward" => sae_forward::current,
        "sae-legacy" => sae_forward::legacy,
        "sae-load" => sae_load::run,
        "sae-train-step" => sae_train_step::run,
        "sampling-distribution" => sampling_distribution::run,
        "schedules" => schedules::run,
        "test-prompt" => test_prompt::run,
        "tokenizer" => tokenizer::run,
        "train-fit" => train_fit::run,
        "train-metrics" => train_metrics::run,
        "tokens" => tokens::run,
        "weight-processing" => weight_processing::run,
        _ => return None,
    })
}
