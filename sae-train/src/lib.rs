//! Training sparse autoencoders: the schedules of learning rate and sparsity coefficients.
//!
//! - [`schedule`]: SAELens' schedules, step by step

pub mod schedule;

pub use schedule::{Coefficient, LrSchedule, MainPhase, ScheduleError};
