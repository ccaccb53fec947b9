//! What to generate and when to stop.

use crate::sampling::Sampling;

/// When a row is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopAt {
    /// Any of these tokens ends a row; it is kept.
    pub tokens: Vec<u32>,
    /// What a finished row goes on with while others are not.
    pub fill: u32,
}

impl StopAt {
    /// One token ends a row and fills it.
    pub fn token(id: u32) -> Self {
        Self { tokens: vec![id], fill: id }
    }
}

/// What to generate; the defaults are TransformerLens'.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateOptions {
    /// How many tokens at most.
    pub max_new_tokens: usize,
    /// When a row is finished; `None`: never.
    pub stop_at: Option<StopAt>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Keep keys and values of earlier tokens rather than computing them again at every step.
    pub use_past_kv_cache: bool,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 10,
            stop_at: None,
            sampling: Sampling::default(),
            use_past_kv_cache: true,
        }
    }
}
