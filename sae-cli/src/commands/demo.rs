//! `sae demo`: the workshop in short, on the built-in model and SAE; asked here, told by the tour.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sae_models::TestPrompt;
use serde_json::json;

use super::features;
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
    tour::tour(&stage, &compared, &strongest, args.output.as_deref())?;
    show::line(
        "\nNext: `sae run --prompt ... --answer ...`, `sae features --prompt ...`, `sae --help`.",
    )?;
    Ok(())
}
