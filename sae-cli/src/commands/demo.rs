//! `sae demo`: the workshop in short, on the built-in model and SAE; its first stage is here.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sae_core::model::HookedModel;
use sae_models::TestPrompt;
use serde_json::json;

use super::features::{self, Feature};
use super::info::InfoArgs;
use super::run::Compared;
use super::stage::Names;
use super::{ANSWER, PROMPT, Stage, tour};
use crate::show;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Train a small SAE here, and write the tour as `index.html`.
    #[arg(long)]
    pub(crate) output: Option<PathBuf>,
}

pub(crate) fn demo(args: &DemoArgs, as_json: bool) -> Result<()> {
    let stage = Stage::load(&Names::demo())?;
    let compared = Compared::run(&stage, &TestPrompt::new(PROMPT, ANSWER))?;
    let strongest = features::find(&stage, PROMPT, -1, 5, 8)?;
    if as_json {
        return show::json(&json!({
            "prompt": PROMPT, "answer": ANSWER, "run": compared, "features": strongest,
        }));
    }
    tell(&stage, &compared, &strongest)?;
    let page = tour::begin(&compared, &strongest);
    tour::tour(&stage, page, args.output.as_deref())?;
    show::line(
        "\nNext: `sae run --prompt ... --answer ...`, `sae features --prompt ...`, `sae --help`.",
    )?;
    Ok(())
}

fn tell(stage: &Stage, compared: &Compared, strongest: &[Feature]) -> Result<()> {
    let spec = stage.model.spec();
    show::line(format!(
        "1. A model. {} layers, d_model {}, {} tokens in its vocabulary, trained on a public-domain \
         English text.\n   It is built into this program, so nothing is downloaded.\n",
        spec.n_layers, spec.d_model, spec.d_vocab
    ))?;
    show::line(
        "2. A sparse autoencoder. It rewrites the residual stream as a few active features out of \
         many.\n   This is its configuration, as SAELens wrote it:",
    )?;
    super::info::info(&InfoArgs { sae: "demo".to_owned() }, false)?;
    show::line(format!(
        "\n3. The model with the SAE spliced in. Prompt: {PROMPT:?}\n   With the SAE in place of what \
         it reads, the answer should stay likely; with the\n   error term added back, nothing at all \
         may change."
    ))?;
    show::line(compared.answers_table())?;
    show::line(compared.top_table())?;
    show::line(
        "\n4. What fires on the last word. Each feature is a direction; the tokens are those whose \
         logits\n   that direction raises most.",
    )?;
    Ok(show::line(features::table(strongest))?)
}
