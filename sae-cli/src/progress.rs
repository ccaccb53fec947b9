//! Progress of transfers and of long work: a bar on a terminal, plain lines otherwise.

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use sae_registry::{Hub, Progress};

/// The hub as the environment describes it, showing on standard error how far it has come; `verb` says
/// what it does with files.
pub(crate) fn hub(verb: &'static str) -> Hub {
    let shown = Mutex::new(None::<(PathBuf, ProgressBar)>);
    let terminal = std::io::stderr().is_terminal();
    Hub::from_env().on_progress(move |progress| {
        // A poisoned lock means that showing progress failed before; the download matters more.
        let Ok(mut shown) = shown.lock() else { return };
        let path = PathBuf::from(&progress.file.path);
        if shown.as_ref().is_none_or(|(current, _)| *current != path) {
            *shown = Some((path, start(progress, verb, terminal)));
        }
        if let Some((_, bar)) = shown.as_ref() {
            bar.set_position(progress.done_bytes);
            if progress.done_bytes >= bar.length().unwrap_or(u64::MAX) {
                bar.finish();
            }
        }
    })
}

fn start(progress: &Progress<'_>, verb: &str, terminal: bool) -> ProgressBar {
    let name = progress.file.path.clone();
    if !terminal {
        eprintln!("{verb} {}/{name}", progress.file.repo_id);
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}");
    ProgressBar::new(progress.size_bytes)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(name)
}

/// Lines of plain progress from beginning to end.
const PLAIN_LINES: u64 = 10;

/// Work whose size is known.
pub(crate) struct Counted {
    bar: ProgressBar,
    name: &'static str,
    total: u64,
    terminal: bool,
    /// Plain lines written so far.
    lines: Cell<u64>,
}

impl Counted {
    pub(crate) fn new(name: &'static str, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let template = "{prefix} [{bar:30}] {human_pos}/{human_len} {eta} {msg}";
        let bar = if terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template(template);
        let bar = bar
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix(name);
        Self { bar, name, total, terminal, lines: Cell::new(0) }
    }

    /// So much is done; `message` is asked for only when it is shown.
    pub(crate) fn at(&self, done: u64, message: impl FnOnce() -> String) {
        if self.terminal {
            self.bar.set_position(done);
            self.bar.set_message(message());
        } else if done * PLAIN_LINES >= self.total * (self.lines.get() + 1) {
            self.lines.set(done * PLAIN_LINES / self.total.max(1));
            let percent = 100 * done / self.total.max(1);
            eprintln!("{} {percent:3} % {}", self.name, message());
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
