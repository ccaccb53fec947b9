//! Tables for people, JSON for programs.

use std::io::{self, Write};
use std::path::Path;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use sae_analysis::figure::Page;
use sae_core::io::write_atomic;
use sae_core::sae::SaeSpec;
use sae_core::sae_lens;
use serde::Serialize;

/// A table with a heading.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.to_vec());
    table
}

/// Print a line, and end quietly when the reader has gone (`sae info | head -1`).
pub(crate) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other,
    }
}

/// Print a value as one JSON document.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(serde_json::to_string_pretty(value)?)?)
}

/// What there is to say of an SAE that was written, if anything.
pub(crate) fn caveat(spec: &SaeSpec) {
    if let Some(caveat) = sae_lens::caveat(spec) {
        eprintln!("warning: {caveat}");
    }
}

/// Write a page, and say where.
pub(crate) fn page(path: &Path, page: &Page) -> anyhow::Result<()> {
    write_atomic(path, page.html().as_bytes())?;
    eprintln!("{}", path.display());
    Ok(())
}

/// A token as people read it: quoted, with blanks and control characters visible.
pub(crate) fn token(text: &str) -> String {
    format!("{text:?}")
}

/// A probability in per cent.
pub(crate) fn percent(probability: f32) -> String {
    format!("{:.2} %", 100.0 * probability)
}

/// A value if it is known.
pub(crate) fn maybe(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
