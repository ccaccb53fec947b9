//! `sae features`: the strongest features at a position, and the tokens each promotes.

use anyhow::{Context, Result};
use clap::Args;
use sae_analysis::figure::Page;
use sae_analysis::{Strongest, top_features, top_logits};
use sae_core::model::{Batch, HookedModelExt};
use sae_models::tokenizer::PrependBos;
use serde::Serialize;

use super::Stage;
use super::stage::Names;
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct FeatureArgs {
    #[command(flatten)]
    pub(crate) names: Names,
    /// The prompt.
    #[arg(long, default_value = super::PROMPT)]
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

/// A feature, how strongly it fires, and the tokens it promotes.
#[derive(Serialize)]
pub(crate) struct Feature {
    pub(crate) feature: usize,
    pub(crate) activation: f32,
    pub(crate) promotes: Vec<Promoted>,
}

/// A token and what the feature's decoder direction does to its logit.
#[derive(Serialize)]
pub(crate) struct Promoted {
    pub(crate) token: String,
    pub(crate) logit: f32,
}

/// The strongest features of `prompt` at `position`.
pub(crate) fn find(
    stage: &Stage,
    prompt: &str,
    position: isize,
    n_features: usize,
    n_tokens: usize,
) -> Result<Vec<Feature>> {
    let sae = stage.sae.sae.as_ref();
    let at = sae.spec().hook.context("the SAE's cfg.json names no hook")?;
    let tokens = stage.tokenizer.to_tokens(prompt, PrependBos::Default)?;
    let activations = stage.model.activations(&Batch::single(&tokens)?, at)?;
    let strongest = top_features(sae, &activations.squeeze(0)?, position, n_features)?;
    let features: Vec<usize> = strongest.iter().map(|s| s.index).collect();
    let promoted = top_logits(sae, &features, n_tokens, |d| stage.model.project_to_logits(d))?;
    let named = |list: &[Strongest]| -> Result<Vec<Promoted>> {
        list.iter()
            .map(|t| {
                let id = u32::try_from(t.index)?;
                let token = stage.tokenizer.to_single_str_token(id)?;
                Ok(Promoted { token, logit: t.value })
            })
            .collect()
    };
    strongest
        .iter()
        .zip(&promoted)
        .map(|(s, tokens)| {
            Ok(Feature { feature: s.index, activation: s.value, promotes: named(tokens)? })
        })
        .collect()
}

pub(crate) fn table(features: &[Feature]) -> comfy_table::Table {
    let mut table = show::table(&["feature", "activation", "promotes"]);
    for f in features {
        let promotes: Vec<String> = f.promotes.iter().map(|p| show::token(&p.token)).collect();
        let activation = format!("{:.4}", f.activation);
        table.add_row([f.feature.to_string(), activation, promotes.join(" ")]);
    }
    table
}

/// How strongly each fires, and the tokens whose logits it raises most.
pub(crate) fn figure(page: Page, features: &[Feature]) -> Page {
    let labels: Vec<String> = features.iter().map(|f| format!("feature {}", f.feature)).collect();
    let values: Vec<f64> = features.iter().map(|f| f64::from(f.activation)).collect();
    let promoted = |p: &Promoted| format!("{} {:+.2}", show::token(&p.token), p.logit);
    let rows: Vec<_> = features
        .iter()
        .map(|f| {
            let promotes: Vec<String> = f.promotes.iter().map(promoted).collect();
            vec![f.feature.to_string().into(), promotes.join("   ").into()]
        })
        .collect();
    page.bars("The strongest features", "activation", &labels, &values)
        .table(&["feature", "promotes (change of the logit per unit of activation)"], &rows)
}

pub(crate) fn features(args: &FeatureArgs, as_json: bool) -> Result<()> {
    let stage = Stage::load(&args.names)?;
    let found = find(&stage, &args.prompt, args.position, args.top, args.tokens)?;
    if as_json {
        return show::json(&found);
    }
    Ok(show::line(table(&found))?)
}
