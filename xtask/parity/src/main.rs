//! Runs parity suites: cases whose expected values were computed by the reference libraries.
//!
//! `parity DIR [--kind KIND]... [--case NAME]... [--json FILE]`

mod case;
mod compare;
mod kinds;
mod report;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
usage: parity DIR [--kind KIND]... [--case NAME]... [--json FILE]

Runs every case of the suite in DIR (or those of the kinds and names given; a name may end in `*`), prints a
line per case with its worst output, and fails if one fails. A kind that is not built is a failure.";

/// What was asked for.
struct Options {
    dir: PathBuf,
    filter: run::Filter,
    json: Option<PathBuf>,
}

fn options() -> Result<Options> {
    use lexopt::prelude::*;
    let mut dir = None;
    let mut filter = run::Filter::default();
    let mut json = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("kind") => filter.kinds.push(parser.value()?.string()?),
            Long("case") => filter.cases.push(parser.value()?.string()?),
            Long("json") => json = Some(parser.value()?.into()),
            Value(path) if dir.is_none() => dir = Some(path.into()),
            _ => bail!("{}\n{USAGE}", arg.unexpected()),
        }
    }
    Ok(Options { dir: dir.context(USAGE)?, filter, json })
}

fn main() -> ExitCode {
    match options().and_then(|o| run::run(&o.dir, &o.filter, o.json.as_deref())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
