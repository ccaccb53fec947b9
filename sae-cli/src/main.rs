//! `sae`: sparse autoencoders and the models they were trained on, from a shell.

mod args;
mod commands;
mod embedded;
mod interrupt;
mod named;
mod progress;
mod published;
mod show;
mod tokens;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let args = args::Args::parse();
    match commands::run(&args) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", told(&error));
            std::process::ExitCode::FAILURE
        }
    }
}

/// An error and its causes, without those that were told in the one before.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| {
        match told.ends_with(&cause) {
            true => told,
            false if told.is_empty() => cause,
            false => format!("{told}: {cause}"),
        }
    })
}
