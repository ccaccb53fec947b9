//! The tour: the workshop's stages in order, on the terminal and on a page.

mod looking;
mod meaning;
mod training;

use std::path::Path;

use anyhow::Result;
use clap::Parser;
use sae_analysis::figure::Page;
use sae_core::io::write_atomic;

use super::Stage;
use super::features::Feature;
use super::run::Compared;
use crate::args::{Args, Command};
use crate::show;

const INTRO: &str = "A language model computes with vectors in which many ideas lie on top of each other. A \
sparse autoencoder (SAE) takes such a vector apart into a few active features out of many, and features can \
be looked at, measured and turned: this page does so, step by step, with a small model and an SAE that are \
built into the program.";
const HOW: &str = "Every number was computed when the page was written; marks show their value under the \
pointer. The page fetches nothing, and the numbers of each figure stand beside it in the source as JSON.";

/// Where the tour is: what was told so far is on the page.
struct Tour<'a> {
    stage: &'a Stage,
    page: Page,
    step: usize,
}

impl Tour<'_> {
    /// The next step: two sentences, on the terminal and on the page.
    fn step(&mut self, heading: &str, text: &str) -> Result<()> {
        self.step += 1;
        let heading = format!("{}. {heading}", self.step);
        show::line(format!("\n{heading}\n{}\n", wrapped(text)))?;
        self.draw(|page| page.section(&heading, text));
        Ok(())
    }

    /// Put something on the page.
    fn draw(&mut self, act: impl FnOnce(Page) -> Page) {
        self.page = act(std::mem::take(&mut self.page));
    }
}

/// The whole tour; with `output`, an SAE is trained there and the page is written.
pub(super) fn tour(
    stage: &Stage,
    compared: &Compared,
    strongest: &[Feature],
    output: Option<&Path>,
) -> Result<()> {
    let page = Page::new("A tour of one sparse autoencoder").intro(INTRO).intro(HOW);
    let mut tour = Tour { stage, page, step: 0 };
    looking::look(&mut tour, compared, strongest)?;
    meaning::find(&mut tour)?;
    let Some(output) = output else { return Ok(()) };
    training::train(&mut tour, output)?;
    let path = output.join("index.html");
    write_atomic(&path, tour.page.html().as_bytes())?;
    Ok(show::line(format!("\nThe tour with its figures: {}", path.display()))?)
}

/// A command with its defaults.
fn defaults(words: &[&str]) -> Result<Command> {
    let line = std::iter::once("sae").chain(words.iter().copied());
    Ok(Args::try_parse_from(line)?.command)
}

/// Lines of bounded length, set in.
fn wrapped(text: &str) -> String {
    const COLUMNS: usize = 90;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].len() + word.len() >= COLUMNS {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "   " } else { " " });
            line.push_str(word);
        }
    }
    lines.join("\n")
}
