//! Training sparse autoencoders: from a configuration to a SAELens folder.
//!
//! - [`config`]: SAELens' configurations, checked
//! - [`recipe`]: the losses of each architecture and their closed-form gradients over sparse latents
//! - [`trainer`]: one step after another, in the order of SAELens
//! - [`schedule`], [`adam`], [`counters`], [`scale`], [`metrics`]: what a step is made of
//!
//! - [`fit`](mod@fit), [`checkpoint`]: the whole run, and how it goes on after a stop
//!
//! This crate knows rows of activations, not where they come from.

pub mod adam;
pub mod checkpoint;
pub mod config;
pub mod counters;
mod error;
mod export;
pub mod fit;
pub mod init;
pub mod metrics;
mod orthogonal;
pub mod params;
mod pretrained;
pub mod recipe;
mod residual;
pub mod rows;
pub mod scale;
pub mod schedule;
mod trained;
pub mod trainer;
pub mod whiten;

pub use checkpoint::Checkpoint;
pub use config::TrainConfig;
pub use error::{Error, Result};
pub use fit::{Outcome, Surroundings, fit};
pub use params::Params;
pub use recipe::Recipe;
pub use schedule::{Coefficient, LrSchedule, MainPhase, ScheduleError};
pub use trained::{RUNNER_CFG_FILE, Trained};
pub use trainer::{Settings, State, Step, Trainer};
