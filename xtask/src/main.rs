//! Development workflows. Drives cargo and the binaries; links none of the libraries.
#![allow(clippy::print_stdout)] // a command-line program

mod bench;
mod catalogue;
mod check;
mod fixtures;
mod parity;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo                       the tour, offline, on the built-in model and SAE; a page in target/demo
  test                       fixtures, all tests, doc tests, parity
  check                      what a change must pass, cheapest first: format, tidy, clippy, docs, tests
  parity DIR [--kind KIND]... [--case NAME]... [--json FILE]
                             run a suite of cases computed by the reference libraries
  prop [--cases N]           all property tests, with N cases each (default 1024)
  bench [--save NAME] [--against NAME] [FILTER]
                             criterion benches and a report with medians, spread and floors
  catalogue FILE             the built-in catalogue of SAEs, from SAELens' pretrained_saes.yaml
  fixtures [--check]         write, or check, the checksums of everything that is shipped
  tidy                       the rules of the house that need no compiler";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("demo") => {
            shell::binary("sae", &["demo", "--output", "target/demo"].map(str::to_owned))
        }
        Some("test") => test::test(),
        Some("check") => check::check(),
        Some("parity") => parity::parity(rest),
        Some("prop") => test::prop(rest),
        Some("bench") => bench::bench(rest),
        Some("catalogue") => catalogue::catalogue(rest),
        Some("fixtures") => fixtures::fixtures(rest),
        Some("tidy") => tidy::tidy(&shell::root()?),
        None | Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        Some(other) => bail!("`{other}`: no such command\n{USAGE}"),
    }
}
