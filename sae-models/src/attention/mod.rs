//! Attention: fused where nothing inside is wanted, step by step otherwise.

mod fused;
mod run;
mod stepwise;

use crate::mask::Visible;

/// How scores are made and who sees whom, in one layer of one run.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// What scores are divided by.
    pub(crate) scale: f64,
    /// Scores become `cap tanh(score / cap)`.
    pub(crate) cap: Option<f64>,
    /// Keys that a query sees, its own position included.
    pub(crate) window: Option<usize>,
    pub(crate) visible: &'a Visible,
}
