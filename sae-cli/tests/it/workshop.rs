//! Every command of docs/workshop.md runs, in order, as it is written there.

use std::path::Path;
use std::process::Command;

/// The words of a command line; double quotes keep blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('"').enumerate() {
        if i % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[test]
fn the_workshop_runs_as_written() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/workshop.md");
    let text = std::fs::read_to_string(page).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut commands = Vec::new();
    let mut block: Option<(&str, Vec<&str>)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), block.take()) {
            (Some(kind), None) => block = Some((kind, Vec::new())),
            (None, Some((kind, mut lines))) => {
                lines.push(line);
                block = Some((kind, lines));
            }
            (Some(_), Some(("sh", lines))) => commands.extend(lines),
            // A block that names a file is that file.
            (Some(_), Some((kind, lines))) => {
                let name = kind.split_once(' ').expect("a block of a file names it").1;
                std::fs::write(dir.path().join(name), lines.join("\n")).unwrap();
            }
            (None, None) => {}
        }
    }
    assert!(commands.len() > 20, "{commands:?}");
    for line in commands {
        let words = words(line);
        assert_eq!(words[0], "sae", "{line}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sae"));
        let out = command.args(&words[1..]).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && !out.stdout.is_empty(), "{line}: {said}");
    }
}
