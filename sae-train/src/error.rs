//! What can go wrong in training.

use std::path::PathBuf;

use sae_core::hook::HookName;

use crate::schedule::ScheduleError;

/// Training failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration that contradicts itself: every problem that was found.
    #[error("{file}: {}", .problems.join("; "))]
    Config {
        /// The file, or what stands for it.
        file: String,
        /// One sentence each, naming the field.
        problems: Vec<String>,
    },
    /// Activations of another width than the SAE reads.
    #[error("activations at `{hook}` are {got} wide, the SAE reads {want}")]
    Width {
        /// Where the activations come from.
        hook: HookName,
        /// Their width.
        got: usize,
        /// `d_in`.
        want: usize,
    },
    /// Activations whose covariance has no eigenvectors.
    #[error("the covariance of the activations is not finite; look at the activations")]
    Covariance,
    /// A loss that is no number.
    #[error("step {step}: {name} is {value}; lower the learning rate, or look at the activations")]
    NotFinite {
        /// The step, from 0.
        step: u64,
        /// The loss.
        name: String,
        /// Its value.
        value: f64,
    },
    /// Dead latents have nothing to learn from.
    #[error(
        "step {step}: {n_dead} latents are dead, and under `{mode}` there is no loss that revives them; \
         use another normalisation, or a longer dead_feature_window"
    )]
    NoAuxiliaryLoss {
        /// The step, from 0.
        step: u64,
        /// Latents that are dead.
        n_dead: usize,
        /// The normalisation.
        mode: &'static str,
    },
    /// The source ended before training did.
    #[error("the activations end after {got} rows, {want} are needed")]
    SourceEnded {
        /// Rows that came.
        got: u64,
        /// Rows needed.
        want: u64,
    },
    /// A checkpoint that cannot be continued.
    #[error("{}: {problem}", .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A schedule that does not fit.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// SAE mathematics or files.
    #[error(transparent)]
    Core(#[from] sae_core::Error),
    /// Tensors.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// Files.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Metrics could not be written.
    #[error("metrics cannot be written: {0}")]
    Metrics(std::io::Error),
}

/// The result of anything that can fail in training.
pub type Result<T> = std::result::Result<T, Error>;
