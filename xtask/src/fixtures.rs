//! `fixtures`: checksums of the assets and suites that travel with the project.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::shell;

/// Folders whose every file is listed in their `manifest.sha256`.
const FOLDERS: [&str; 3] = ["sae-cli/assets", "sae-registry/data", "xtask/parity/suites"];
const MANIFEST: &str = "manifest.sha256";

pub(crate) fn fixtures(args: &[String]) -> Result<()> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("usage: cargo xtask fixtures [--check]"),
    };
    let root = shell::root()?;
    for folder in FOLDERS {
        let dir = root.join(folder);
        let found = sums(&dir)?;
        if check {
            verify(&dir, &found)?;
            println!("{folder}: {} files as listed", found.len());
        } else {
            let lines = found.iter().fold(String::new(), |mut text, (file, sum)| {
                let _ = writeln!(text, "{sum}  {file}"); // writing to a String cannot fail
                text
            });
            let partial = dir.join("manifest.sha256.tmp");
            fs::write(&partial, lines).with_context(|| partial.display().to_string())?;
            fs::rename(&partial, dir.join(MANIFEST))?;
            println!("{folder}: {} files listed", found.len());
        }
    }
    Ok(())
}

/// Every file that differs, is missing or is not listed, by name.
fn verify(dir: &Path, found: &BTreeMap<String, String>) -> Result<()> {
    let path = dir.join(MANIFEST);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let listed: BTreeMap<&str, &str> =
        text.lines().filter_map(|l| l.split_once("  ")).map(|(sum, file)| (file, sum)).collect();
    let mut problems = Vec::new();
    for (file, sum) in found {
        match listed.get(file.as_str()) {
            None => problems.push(format!("{file}: not listed")),
            Some(want) if want != sum => problems.push(format!("{file}: differs")),
            Some(_) => {}
        }
    }
    problems.extend(
        listed.keys().filter(|f| !found.contains_key(**f)).map(|f| format!("{f}: missing")),
    );
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{}:\n  {}", dir.display(), problems.join("\n  "))
}

/// Checksums of all files below a folder, by name relative to it.
fn sums(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let parts = path.strip_prefix(dir)?.iter().map(|p| p.to_string_lossy());
            let name = parts.collect::<Vec<_>>().join("/");
            if name != MANIFEST {
                let content = fs::read(&path).with_context(|| path.display().to_string())?;
                found.insert(name, format!("{:x}", Sha256::digest(content)));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        fs::write(dir.path().join("b"), "2").unwrap();
        let before = sums(dir.path()).unwrap();
        let lines: String = before.iter().map(|(f, s)| format!("{s}  {f}\n")).collect();
        fs::write(dir.path().join(MANIFEST), lines).unwrap();
        verify(dir.path(), &before).unwrap();
        fs::write(dir.path().join("a"), "other").unwrap();
        fs::remove_file(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("c"), "3").unwrap();
        let error = verify(dir.path(), &sums(dir.path()).unwrap()).unwrap_err().to_string();
        for says in ["a: differs", "b: missing", "c: not listed"] {
            assert!(error.contains(says), "{error}");
        }
    }
}
