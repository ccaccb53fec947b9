//! Finding cases and running them, one line each.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::case::Case;
use crate::kinds;
use crate::report::{Verdict, print_case, print_summary, write_json};

/// Which cases to run; empty lists mean all.
#[derive(Default)]
pub(crate) struct Filter {
    pub(crate) kinds: Vec<String>,
    /// Names of cases; one that ends in `*` is a prefix.
    pub(crate) cases: Vec<String>,
}

/// Run a suite; whether every case passed.
pub(crate) fn run(dir: &Path, filter: &Filter, json: Option<&Path>) -> Result<bool> {
    let mut verdicts = Vec::new();
    for path in find(dir, filter)? {
        let verdict = run_case(dir, &path)?;
        print_case(&verdict);
        verdicts.push(verdict);
    }
    if verdicts.is_empty() {
        bail!("{}: no case of these kinds and names", dir.display());
    }
    print_summary(&verdicts);
    if let Some(path) = json {
        write_json(path, &verdicts)?;
    }
    Ok(verdicts.iter().all(Verdict::passed))
}

fn run_case(suite: &Path, dir: &Path) -> Result<Verdict> {
    let case = Case::open(suite, dir)?;
    let Some(runner) = kinds::runner(&case.kind) else {
        return Ok(Verdict::broken(&case, format!("kind `{}` is not built", case.kind)));
    };
    // A panic is a failure of its case, not of the run.
    Ok(match catch_unwind(AssertUnwindSafe(|| runner(&case))) {
        Ok(Ok(outputs)) => Verdict::compare(&case, &outputs)?,
        Ok(Err(error)) => Verdict::broken(&case, format!("{error:#}")),
        Err(_) => Verdict::broken(&case, "panicked".to_owned()),
    })
}

/// The case folders, by kind and name.
fn find(suite: &Path, filter: &Filter) -> Result<Vec<PathBuf>> {
    let root = suite.join("cases");
    let mut found = BTreeMap::new();
    for kind in folders(&root)? {
        if !filter.kinds.is_empty() && !filter.kinds.contains(&name(&kind)) {
            continue;
        }
        for case in folders(&kind)? {
            let wanted = filter.cases.iter().any(|pattern| matches(pattern, &name(&case)));
            if filter.cases.is_empty() || wanted {
                found.insert((name(&kind), name(&case)), case);
            }
        }
    }
    Ok(found.into_values().collect())
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("{}", dir.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
