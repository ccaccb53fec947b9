//! Progress of downloads: a bar on a terminal, plain lines otherwise.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use sae_registry::{Hub, Progress};

/// The hub as the environment describes it, showing its progress on standard error.
pub(crate) fn hub() -> Hub {
    let shown = Mutex::new(None::<(PathBuf, ProgressBar)>);
    let terminal = std::io::stderr().is_terminal();
    Hub::from_env().on_progress(move |progress| {
        // A poisoned lock means that showing progress failed before; the download matters more.
        let Ok(mut shown) = shown.lock() else { return };
        let path = PathBuf::from(&progress.file.path);
        if shown.as_ref().is_none_or(|(current, _)| *current != path) {
            *shown = Some((path, start(progress, terminal)));
        }
        if let Some((_, bar)) = shown.as_ref() {
            bar.set_position(progress.done_bytes);
            if progress.done_bytes >= bar.length().unwrap_or(u64::MAX) {
                bar.finish();
            }
        }
    })
}

fn start(progress: &Progress<'_>, terminal: bool) -> ProgressBar {
    let name = progress.file.path.clone();
    if !terminal {
        eprintln!("fetching {}/{name}", progress.file.repo_id);
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}");
    ProgressBar::new(progress.size_bytes)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(name)
}
