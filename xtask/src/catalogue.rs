//! `catalogue`: the catalogue of published SAEs, written anew from SAELens' file.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::{fixtures, shell};

const TEXT: &str = "sae-registry/data/catalogue.txt";

pub(crate) fn catalogue(args: &[String]) -> Result<()> {
    let [yaml] = args else { bail!("usage: cargo xtask catalogue pretrained_saes.yaml") };
    let yaml = fs::canonicalize(yaml).with_context(|| yaml.clone())?;
    let root = shell::root()?;
    let partial: PathBuf = root.join(TEXT).with_extension("tmp");
    let file = fs::File::create(&partial).with_context(|| partial.display().to_string())?;
    // Its output is the file, so it is not shown as other commands are.
    let mut command =
        shell::command(["run", "--quiet", "-p", "sae-registry", "--example", "catalogue", "--"])?;
    let status = command.arg(&yaml).stdout(Stdio::from(file)).status()?;
    if !status.success() {
        fs::remove_file(&partial)?;
        bail!("{}: could not be rewritten", yaml.display());
    }
    fs::rename(&partial, root.join(TEXT))?;
    fixtures::fixtures(&[])
}
