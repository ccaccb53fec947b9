//! `parity`: suites of cases computed by the reference libraries.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Suites that travel with the project.
const SUITES: &str = "xtask/parity/suites";
/// Which kinds are built: lines of suite, kind and, if not all of its cases, their names.
const BUILT: &str = "xtask/parity/built-kinds.txt";
/// Where suites beside the checkout are, unless `SAE_PARITY_DIR` says otherwise.
const BESIDE: &str = "../shared/parity";

/// Run one suite, with the runner's own options.
pub(crate) fn parity(args: &[String]) -> Result<()> {
    let mut absolute = args.to_vec();
    // The runner starts in the root; a relative folder is meant from here.
    if let Some(dir) = absolute.first_mut().filter(|a| !a.starts_with('-'))
        && let Ok(path) = fs::canonicalize(&*dir)
    {
        *dir = path.to_string_lossy().into_owned();
    }
    runner(&absolute)
}

fn runner(args: &[String]) -> Result<()> {
    shell::binary("parity", args)
}

/// Run every built kind, on the suites of the project and on those beside it.
pub(crate) fn built() -> Result<()> {
    let root = shell::root()?;
    let list = fs::read_to_string(root.join(BUILT)).with_context(|| BUILT.to_owned())?;
    let built = parse(&list)?;
    run_all(&root.join(SUITES), &built)?;
    let beside =
        std::env::var_os("SAE_PARITY_DIR").map_or_else(|| root.join(BESIDE), PathBuf::from);
    if beside.is_dir() {
        return run_all(&beside, &built);
    }
    println!(
        "no parity suites at {} (SAE_PARITY_DIR names another place): only the copies in {SUITES} \
         were run",
        beside.display()
    );
    Ok(())
}

fn run_all(dir: &Path, built: &[Built]) -> Result<()> {
    for entry in built {
        let suite = dir.join(&entry.suite);
        let mut args = vec![suite.to_string_lossy().into_owned()];
        args.extend(["--kind".to_owned(), entry.kind.clone()]);
        for case in &entry.cases {
            args.extend(["--case".to_owned(), case.clone()]);
        }
        runner(&args)?;
    }
    Ok(())
}

/// A kind that is built.
#[derive(Debug, PartialEq)]
struct Built {
    suite: String,
    kind: String,
    /// Names of the cases that pass, a `*` ending a prefix; empty when all do.
    cases: Vec<String>,
}

fn parse(list: &str) -> Result<Vec<Built>> {
    let lines = list.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let (Some(suite), Some(kind)) = (words.next(), words.next()) else {
                bail!("{BUILT}: `{line}` must be `suite kind [name,prefix*...]`");
            };
            let cases = words.next().map(|c| c.split(',').map(str::to_owned).collect());
            Ok(Built {
                suite: suite.to_owned(),
                kind: kind.to_owned(),
                cases: cases.unwrap_or_default(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_suite_kind_and_cases() {
        let built = parse("# comment\n\ncore tokens\nmodels generate gpt2*,llama\n").unwrap();
        assert!(built[0].cases.is_empty());
        assert_eq!((built[1].suite.as_str(), built[1].cases.len()), ("models", 2));
        assert!(parse("core").is_err());
    }
}
