//! `tidy`: the rules of the house that need no compiler.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Files that may hold `unsafe`.
const UNSAFE_FILES: [&str; 2] = ["sae-core/src/ops/gemm.rs", "sae-store/src/cache/map.rs"];
/// Longest file.
const MAX_LINES: usize = 600;
/// Crates and the crates of this workspace that they may need.
const ARROWS: [(&str, &[&str]); 8] = [
    ("sae-core", &[]),
    ("sae-models", &["sae-core"]),
    ("sae-registry", &["sae-core"]),
    ("sae-store", &["sae-core"]),
    ("sae-neuronpedia", &["sae-core"]),
    ("sae-train", &["sae-core", "sae-store"]),
    ("sae-analysis", &["sae-core", "sae-store"]),
    ("xtask", &[]),
];
/// Crates that open sockets, and where they may be needed.
const NETWORK: [&str; 3] = ["hf-hub", "ureq", "reqwest"];
const NETWORK_CRATES: [&str; 2] = ["sae-registry", "sae-neuronpedia"];

/// Check a workspace; every finding is named.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    for path in rust_files(root)? {
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).with_context(|| name.clone())?;
        check_source(&name, &text, &mut findings);
    }
    for (name, _) in ARROWS {
        let path = root.join(name).join("Cargo.toml");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        check_manifest(name, &text, &mut findings);
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings:\n  {}", findings.len(), findings.join("\n  "))
}

fn check_source(name: &str, text: &str, findings: &mut Vec<String>) {
    if !text.trim_start().starts_with("//!") {
        findings.push(format!("{name}: does not begin with `//!` and what it is about"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        findings.push(format!("{name}: {lines} lines, at most {MAX_LINES}"));
    }
    for (i, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let mut find = |what: &str| findings.push(format!("{name}:{}: {what}", i + 1));
        // Spelled apart, so that this file does not find itself.
        let unsafe_word = concat!("un", "safe {");
        if code.contains(unsafe_word) && !UNSAFE_FILES.contains(&name) {
            find("unsafe code outside the files that may hold it");
        }
        for stub in [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore")]
        {
            if code.contains(stub) {
                find(stub);
            }
        }
    }
}

fn check_manifest(name: &str, text: &str, findings: &mut Vec<String>) {
    let mut section = "";
    let allowed = ARROWS.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, needs)| needs);
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let needed = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if section != "[dependencies]" || needed.is_empty() {
            continue;
        }
        if needed.starts_with("sae-") && !allowed.contains(&needed) {
            findings.push(format!("{name}: must not need {needed}"));
        }
        if NETWORK.contains(&needed) && !NETWORK_CRATES.contains(&name) {
            findings.push(format!("{name}: must not open sockets ({needed})"));
        }
        if name == "xtask" && needed.starts_with("candle") {
            findings.push(format!("{name}: must stay light ({needed})"));
        }
    }
    if !text.contains("[lints]\nworkspace = true") {
        findings.push(format!("{name}: does not take the workspace's lints"));
    }
}

/// All Rust files below the root but for build output.
fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                open.push(path);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_tidy() {
        tidy(&crate::shell::root().unwrap()).unwrap();
    }

    #[test]
    fn untidy_sources_are_found() {
        let check = |text: &str| {
            let mut findings = Vec::new();
            check_source("sae-core/src/x.rs", text, &mut findings);
            findings.len()
        };
        assert_eq!(check("//! X.\nfn f() {}\n"), 0);
        assert_eq!(check("fn f() {}\n"), 1);
        assert_eq!(check(&format!("//! X.\n{}", "\n".repeat(MAX_LINES))), 1);
        assert_eq!(check(concat!("//! X.\nfn f() { un", "safe { g() } }\n")), 1);
        assert_eq!(check(concat!("//! X.\nfn f() { to", "do!() }\n")), 1);
    }

    #[test]
    fn arrows_that_must_not_be_are_found() {
        let check = |name: &str, dependency: &str| {
            let mut findings = Vec::new();
            let text = format!("[lints]\nworkspace = true\n\n[dependencies]\n{dependency}\n");
            check_manifest(name, &text, &mut findings);
            findings.len()
        };
        assert_eq!(check("sae-models", "sae-core.workspace = true"), 0);
        assert_eq!(check("sae-models", "sae-registry.workspace = true"), 1);
        assert_eq!(check("sae-core", "hf-hub.workspace = true"), 1);
        assert_eq!(check("xtask", "candle-core.workspace = true"), 1);
    }
}
