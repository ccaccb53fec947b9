//! `sae models`: the models that are known by name.

use anyhow::Result;
use clap::Args;
use sae_models::{KnownModel, known_models};
use serde_json::{Value, json};

use crate::show;

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Only models with this in one of their names (`pythia`, `70m`, `google/`).
    pub(crate) filter: Option<String>,
    /// Only models of this family (`gpt2`, `gemma2`).
    #[arg(long)]
    pub(crate) family: Option<String>,
    /// Only models with so many layers or fewer.
    #[arg(long)]
    pub(crate) max_layers: Option<u16>,
}

impl ModelsArgs {
    fn admits(&self, model: &KnownModel) -> bool {
        let contains = |part: &str| {
            let part = part.to_lowercase();
            model.names().any(|name| name.to_lowercase().contains(&part))
        };
        self.filter.as_deref().is_none_or(contains)
            && self.family.as_deref().is_none_or(|family| model.family == family)
            && self.max_layers.is_none_or(|most| model.n_layers <= most)
    }
}

pub(crate) fn models(args: &ModelsArgs, as_json: bool) -> Result<()> {
    let found: Vec<&KnownModel> = known_models().iter().filter(|m| args.admits(m)).collect();
    if as_json {
        return show::json(&found.iter().map(|model| as_value(model)).collect::<Vec<Value>>());
    }
    let mut table = show::table(&[
        "name", "hub id", "family", "n_layers", "d_model", "n_heads", "d_mlp", "n_ctx", "d_vocab",
    ]);
    for model in &found {
        let numbers = [usize::from(model.n_layers), model.d_model, model.n_heads, model.d_mlp]
            .into_iter()
            .chain([model.n_ctx, model.d_vocab]);
        let names = [short(model.aliases), model.hub_id.to_owned(), model.family.to_owned()];
        table.add_row(names.into_iter().chain(numbers.map(|n| n.to_string())));
    }
    show::line(table)?;
    Ok(show::line(format!(
        "{} models; --json has all their names. Others of these families load by folder or hub id.",
        found.len()
    ))?)
}

/// The most usual names, for a table.
fn short(aliases: &[&str]) -> String {
    const SHOWN: usize = 2;
    let more = if aliases.len() > SHOWN { ", .." } else { "" };
    aliases[..aliases.len().min(SHOWN)].join(", ") + more
}

fn as_value(model: &KnownModel) -> Value {
    json!({
        "hub_id": model.hub_id,
        "aliases": model.aliases,
        "family": model.family,
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "n_heads": model.n_heads,
        "n_key_value_heads": model.n_key_value_heads,
        "d_head": model.d_head,
        "d_mlp": model.d_mlp,
        "n_ctx": model.n_ctx,
        "d_vocab": model.d_vocab,
    })
}
