//! Generation: tokens one after the other, with a plan in force at every step.

mod options;
mod run;
mod text;

pub use options::{GenerateOptions, StopAt};
