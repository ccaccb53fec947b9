//! `test`: everything that is expected to hold; `prop`: property tests alone.

use anyhow::{Result, bail};

use crate::{fixtures, parity, shell};

/// Fixtures, tests, doc tests and parity; closes with a count of these stages.
pub(crate) fn test() -> Result<()> {
    let stages: [shell::Step; 4] = [
        ("fixtures", || fixtures::fixtures(&["--check".to_owned()])),
        ("tests", || shell::cargo(["test", "--workspace", "--lib", "--bins", "--tests"])),
        ("doc tests", || shell::cargo(["test", "--workspace", "--doc"])),
        ("parity", parity::built),
    ];
    let mut failed = Vec::new();
    for (name, stage) in stages {
        println!("== {name}");
        if let Err(error) = stage() {
            eprintln!("error: {name}: {error:#}");
            failed.push(name);
        }
    }
    println!("{} passed, {} failed", stages.len() - failed.len(), failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

/// All property tests: they live in modules called `prop`.
pub(crate) fn prop(args: &[String]) -> Result<()> {
    const DEFAULT_CASES: u32 = 1024;
    let mut cases = DEFAULT_CASES;
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            lexopt::Arg::Long("cases") => cases = parser.value()?.to_string_lossy().parse()?,
            other => return Err(other.unexpected().into()),
        }
    }
    let mut command = shell::command(["test", "--workspace", "--tests", "--", "prop"])?;
    command.env("PROPTEST_CASES", cases.to_string());
    shell::run(command)
}
