//! `bench`: criterion, and a report with medians, spread and floors.

mod machine;
mod report;

use std::fs;

use anyhow::{Context, Result};
use lexopt::Arg;

use crate::shell;

/// Where reports are kept.
const RUNS: &str = "benches/runs";

pub(crate) fn bench(args: &[String]) -> Result<()> {
    let (mut save, mut against, mut filter) = (None, None, None);
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("save") => save = Some(parser.value()?.to_string_lossy().into_owned()),
            Arg::Long("against") => against = Some(parser.value()?.to_string_lossy().into_owned()),
            Arg::Value(text) if filter.is_none() => {
                filter = Some(text.to_string_lossy().into_owned());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let root = shell::root()?;
    let estimates = root.join("target/criterion");
    // Estimates of earlier runs would stand beside those of this one.
    if estimates.is_dir() {
        fs::remove_dir_all(&estimates).with_context(|| estimates.display().to_string())?;
    }
    let fixed = [
        "bench",
        "--benches",
        "--package",
        "sae-core",
        "--package",
        "sae-models",
        "--package",
        "sae-registry",
        "--package",
        "sae-train",
        "--package",
        "sae-store",
        "--package",
        "sae-cli",
    ];
    let mut cargo: Vec<String> = fixed.iter().map(|a| (*a).to_owned()).collect();
    cargo.push("--".to_owned());
    cargo.extend(filter);
    shell::cargo(cargo)?;
    let found = report::collect(&estimates)?;
    let before = match &against {
        Some(name) => Some(report::load(&root.join(RUNS).join(name).join("raw.json"))?),
        None => None,
    };
    let text = report::markdown(&found, before.as_deref(), &machine::describe());
    println!("{text}");
    if let Some(name) = save {
        let dir = root.join(RUNS).join(format!("{}-{name}", machine::date()));
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        fs::write(dir.join("README.md"), text)?;
        fs::write(dir.join("raw.json"), report::raw(&found))?;
        println!("saved in {RUNS}/{}-{name}", machine::date());
    }
    Ok(())
}
