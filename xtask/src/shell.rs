//! Running programs, shown as they are typed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A named step of a workflow.
pub(crate) type Step = (&'static str, fn() -> Result<()>);

/// The root of the workspace.
pub(crate) fn root() -> Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest.parent().context("xtask lies in the workspace")?.to_owned())
}

/// Run cargo in the root of the workspace.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<()> {
    run(command(args)?)
}

/// A cargo command in the root of the workspace.
pub(crate) fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Command> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root()?);
    Ok(command)
}

/// Run a binary of the workspace.
///
/// It is built together with the tests: built alone, its dependencies would have fewer features than
/// with the tests' own dependencies, and all of candle would be compiled a second time.
pub(crate) fn binary(name: &str, args: &[String]) -> Result<()> {
    cargo(["build", "--quiet", "--workspace", "--bins", "--tests"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root()?.join("target"), PathBuf::from);
    let path = target.join("debug").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    let mut command = Command::new(&path);
    command.args(args).current_dir(root()?);
    run(command)
}

/// Run a command; its failure is ours.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut words = vec![program.to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    let text = words.join(" ");
    eprintln!("$ {text}");
    let status = command.status().with_context(|| format!("could not run `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed ({status})");
    }
    Ok(())
}

/// Whether a cargo subcommand is installed.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    let quiet = std::process::Stdio::null;
    command([subcommand, "--version"])
        .and_then(|mut c| Ok(c.stdout(quiet()).stderr(quiet()).status()?.success()))
        .unwrap_or(false)
}
