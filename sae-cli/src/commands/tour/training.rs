//! Stage 3 of the workshop: an SAE of one's own.

use std::path::Path;

use anyhow::{Context, Result, bail};
use sae_analysis::figure::Axes;
use serde_json::Value;

use super::{Tour, defaults};
use crate::args::Command;
use crate::commands::train as command;

/// Rows that the small SAE is trained on.
const TOKENS: &str = "120000";

pub(super) fn train(tour: &mut Tour<'_>, output: &Path) -> Result<()> {
    tour.step(
        "An SAE of one's own",
        "A small TopK SAE is trained on the running model with SAELens' losses and schedules. It is \
         written as a SAELens folder, which SAELens itself can load.",
    )?;
    let folder = output.join("sae").display().to_string();
    let line = ["train", "--tokens", TOKENS, "--output", &folder];
    let Command::Train(args) = defaults(&line)? else { bail!("no training") };
    command::train(&args, false)?;
    let metrics = Path::new(&folder).join("metrics.jsonl");
    let text = std::fs::read_to_string(&metrics).with_context(|| metrics.display().to_string())?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let curve = |metric: &str| -> Vec<(f64, f64)> {
        let point = |v: &Value| Some((v["step"].as_f64()?, v[metric].as_f64()?));
        lines.iter().filter_map(point).collect()
    };
    let (loss, variance) = (curve("losses/mse_loss"), curve("metrics/explained_variance"));
    let x = "step";
    tour.draw(|page| {
        let axes = Axes { caption: "Loss", x, y: "squared error per token" };
        let page = page.line(axes, &loss);
        let axes =
            Axes { caption: "What the SAE holds of the activations", x, y: "explained variance" };
        page.line(axes, &variance)
    });
    Ok(())
}
