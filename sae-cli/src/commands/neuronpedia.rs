//! `sae neuronpedia`: pages of features, and calls to the site.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use sae_neuronpedia::{
    CallError, Client, FeatureRef, Hit, SteerRequest, Steered, TEMPORARY_LIST, quick_list_url,
};
use serde_json::json;

use crate::show;

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
    /// Features whose explanation is close to some words, the closest first.
    Search {
        /// The words, three characters at least.
        query: String,
        /// Neuronpedia's name of the model.
        #[arg(long, default_value = "gpt2-small")]
        model: String,
        /// Only in these SAEs, as in `6-res-jb`.
        #[arg(long)]
        sae: Vec<String>,
        /// How many to show; pages of 20 are asked for as they are needed.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Continue a prompt there, with and without features.
    Steer(NeuronpediaSteerArgs),
    /// Make a list of features there, and print its address. Needs a key.
    List {
        /// The features, as in `gpt2-small/7-res-jb/123`.
        #[arg(required = true)]
        features: Vec<String>,
        /// What the list is called.
        #[arg(long)]
        name: String,
        /// What it is about.
        #[arg(long, default_value = "")]
        description: String,
        /// A word on each feature, in their order; none, or one for each.
        #[arg(long)]
        note: Vec<String>,
    },
}

#[derive(Debug, Args)]
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

pub(crate) fn neuronpedia(command: &Neuronpedia, as_json: bool) -> Result<()> {
    match command {
        Neuronpedia::Url { feature } => {
            let feature: FeatureRef = feature.parse()?;
            let (page, embed) = (feature.dashboard_url(), feature.embed_url());
            if as_json {
                return show::json(&json!({ "dashboard": page, "embed": embed }));
            }
            Ok(show::line(format!("{page}\n{embed}"))?)
        }
        Neuronpedia::QuickList { features, name } => {
            let features = features.iter().map(|f| Ok(f.parse()?)).collect::<Result<Vec<_>>>()?;
            let url = quick_list_url(name.as_deref().unwrap_or(TEMPORARY_LIST), &features);
            if as_json { show::json(&json!({ "url": url })) } else { Ok(show::line(url)?) }
        }
        Neuronpedia::Feature { feature } => {
            let found = Client::from_env().feature(&feature.parse()?)?;
            if as_json {
                return show::json(&found);
            }
            let mut table = show::table(&["field", "value"]);
            for e in &found.explanations {
                table.add_row(["explanation", e.description.as_str()]);
            }
            let number = |v: Option<f64>| v.map_or_else(|| "unknown".to_owned(), |v| v.to_string());
            table.add_row(["density".to_owned(), number(found.frac_nonzero)]);
            table.add_row(["largest activation".to_owned(), number(found.max_act_approx)]);
            let tokens = |list: &[String]| list.iter().map(|t| show::token(t)).collect::<Vec<_>>();
            table.add_row(["promotes".to_owned(), tokens(&found.pos_str).join(" ")]);
            table.add_row(["holds back".to_owned(), tokens(&found.neg_str).join(" ")]);
            for a in found.activations.iter().take(3) {
                table.add_row(["fires in".to_owned(), a.tokens.concat().replace('\n', " ")]);
            }
            Ok(show::line(table)?)
        }
        Neuronpedia::Search { query, model, sae, limit } => {
            let saes: Vec<&str> = sae.iter().map(String::as_str).collect();
            let client = Client::from_env();
            search(client.search_explanations(model, &saes, query)?.take(*limit), as_json)
        }
        Neuronpedia::Steer(args) => steer(args, as_json),
        Neuronpedia::List { features, name, description, note } => {
            let features = features.iter().map(|f| Ok(f.parse()?)).collect::<Result<Vec<_>>>()?;
            if !note.is_empty() && note.len() != features.len() {
                bail!(
                    "{} notes for {} features, expected one for each",
                    note.len(),
                    features.len()
                );
            }
            let notes = note.iter().map(String::as_str).chain(std::iter::repeat(""));
            let entries: Vec<(FeatureRef, &str)> = features.into_iter().zip(notes).collect();
            let list = Client::from_env().new_list(name, description, &entries)?;
            if as_json { show::json(&list) } else { Ok(show::line(list.url)?) }
        }
    }
}

/// Show hits; what came before a page that failed is shown too.
fn search(hits: impl Iterator<Item = Result<Hit, CallError>>, as_json: bool) -> Result<()> {
    let mut failure = None;
    let hits: Vec<Hit> = hits.map_while(|hit| hit.map_err(|e| failure = Some(e)).ok()).collect();
    if as_json && (failure.is_none() || !hits.is_empty()) {
        show::json(&hits)?;
    } else if !as_json && !hits.is_empty() {
        let mut table = show::table(&["feature", "explanation", "similarity"]);
        for h in hits {
            let feature = format!("{}/{}/{}", h.model_id, h.layer, h.index);
            let similarity = h.cosine_similarity.map_or_else(String::new, |c| format!("{c:.3}"));
            table.add_row([feature, h.description, similarity]);
        }
        show::line(table)?;
    } else if !as_json && failure.is_none() {
        show::line("nothing was found")?;
    }
    failure.map_or(Ok(()), |e| Err(e.into()))
}

fn steer(args: &NeuronpediaSteerArgs, as_json: bool) -> Result<()> {
    let features: Vec<FeatureRef> =
        args.feature.iter().map(|f| Ok(f.parse()?)).collect::<Result<_>>()?;
    let model_id = features.first().context("no feature to steer by")?.model_id().to_owned();
    let strength = args.strength;
    let found = Client::from_env().steer(&SteerRequest {
        prompt: args.prompt.clone(),
        model_id,
        features: features.into_iter().map(|feature| Steered { feature, strength }).collect(),
        temperature: args.temperature,
        n_tokens: args.tokens,
        freq_penalty: 1.0,
        seed: args.seed,
        strength_multiplier: args.multiplier,
    })?;
    if as_json {
        return show::json(&found);
    }
    let text = |t: &Option<String>| t.clone().unwrap_or_else(|| "nothing".to_owned());
    show::line(format!("plain:\n{}\n\nsteered:\n{}", text(&found.default), text(&found.steered)))?;
    if let Some(url) = &found.share_url {
        show::line(format!("\n{url}"))?;
    }
    Ok(())
}
