//! `sae steer`: continue a prompt with and without a feature's direction added.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use sae_analysis::figure::Page;
use sae_analysis::{find_max_activation, max_activation, steering};
use sae_core::hook::Plan;
use sae_core::model::Batch;
use sae_core::sae::Sae;
use sae_models::sampling::Sampling;
use sae_models::tokenizer::PrependBos;
use sae_models::{GenerateOptions, StopAt};
use sae_store::{Cached, Order};
use serde::Serialize;

use super::data::DataArgs;
use super::stage::Names;
use super::{Stage, data};
use crate::{show, tokens};

#[derive(Debug, Args)]
pub(crate) struct SteerArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The feature.
    #[arg(long, default_value_t = 1712)]
    pub(crate) feature: usize,
    /// How much of the feature's largest activation is added; negative to push it away.
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
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
    /// Look for the largest activation in this cache instead of running the model.
    #[arg(long)]
    pub(crate) cache: Option<PathBuf>,
    /// Batches in which the largest activation is looked for.
    #[arg(long, default_value_t = 8)]
    pub(crate) batches: usize,
}

/// The same prompt, continued twice.
#[derive(Serialize)]
pub(crate) struct Steered {
    pub(crate) feature: usize,
    pub(crate) max_activation: f32,
    pub(crate) strength: f64,
    pub(crate) plain: String,
    pub(crate) steered: String,
}

/// Rows of a cache that are read at a time.
const BATCH: usize = 4096;

/// The largest activation of a feature in a cache, and what was searched.
fn largest_in_cache(sae: &dyn Sae, feature: usize, path: &Path) -> Result<(f32, String)> {
    let mut cached = Cached::open(path, Order::Written)?;
    let (there, want) = (cached.info().hook, sae.spec().hook);
    if let Some(want) = want.filter(|want| *want != there) {
        bail!("{}: holds `{there}`, the SAE reads `{want}`", path.display());
    }
    let rows = cached.rows();
    let max = max_activation(sae, feature, &mut cached, rows, BATCH)?;
    Ok((max, format!("{rows} rows of {}", path.display())))
}

pub(crate) fn run(stage: &Stage, args: &SteerArgs) -> Result<Steered> {
    let sae = stage.sae.sae.as_ref();
    let (max, searched) = match &args.cache {
        Some(path) => largest_in_cache(sae, args.feature, path)?,
        None => {
            let batches = data::batches(stage, &args.data, args.batches)?;
            let exclude = tokens::special(&stage.tokenizer);
            let max = find_max_activation(&stage.model, sae, args.feature, &batches, &exclude)?;
            let n: usize = batches.iter().map(Vec::len).sum();
            (max, format!("{n} prompts of `{}`", args.data.dataset))
        }
    };
    if max <= 0.0 {
        bail!("feature {} never fires on {searched}: there is no scale to steer by", args.feature);
    }
    let prompt = stage.tokenizer.to_tokens(&args.prompt, PrependBos::Default)?;
    let options = GenerateOptions {
        max_new_tokens: args.tokens,
        stop_at: Some(StopAt::token(stage.tokenizer.special().eos_id)),
        sampling: Sampling {
            do_sample: args.temperature > 0.0,
            temperature: args.temperature,
            freq_penalty: 1.0,
            seed: args.seed,
            ..Sampling::default()
        },
        use_past_kv_cache: true,
    };
    let continued = |plan: &Plan<'_>| -> Result<String> {
        let rows = stage.model.generate(&Batch::single(&prompt)?, &options, plan)?;
        Ok(stage.tokenizer.to_plain_string(&rows[0])?)
    };
    let amount = f64::from(max) * args.strength;
    Ok(Steered {
        feature: args.feature,
        max_activation: max,
        strength: args.strength,
        plain: continued(&Plan::new())?,
        steered: continued(&steering(&stage.model, sae, args.feature, amount)?)?,
    })
}

/// Both continuations.
pub(crate) fn figure(page: Page, found: &Steered) -> Page {
    let how = format!(
        "steered: feature {} at {} times {:.2}",
        found.feature, found.strength, found.max_activation
    );
    page.quote("plain", &found.plain).quote(&how, &found.steered)
}

pub(crate) fn steer(args: &SteerArgs, as_json: bool) -> Result<()> {
    let stage = Stage::load(&args.names)?;
    let found = run(&stage, args)?;
    if as_json {
        return show::json(&found);
    }
    show::line(format!(
        "largest activation of feature {}: {:.3}",
        found.feature, found.max_activation
    ))?;
    show::line(format!("\nplain:\n{}\n\nsteered:\n{}", found.plain, found.steered))?;
    Ok(())
}
