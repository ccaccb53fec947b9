//! `ActivationSource`: rows of activations, wherever they come from.

use candle_core::Tensor;

use crate::Result;
use crate::hook::HookName;

/// What is known of a source without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// The hook at which the activations were taken.
    pub hook: HookName,
    /// Width of a row.
    pub width: usize,
    /// How many rows there are, when that is known.
    pub rows: Option<u64>,
}

/// Where a source stands: how many rows it has given. Enough to come back after a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Rows given so far.
    pub row: u64,
}

/// Rows of activations: from a running model, from a file, from memory.
pub trait ActivationSource {
    /// Hook, width and number of rows.
    fn spec(&self) -> &SourceSpec;

    /// The next rows, `[<= rows, width]`; `None` at the end.
    ///
    /// # Errors
    /// The source cannot be read.
    fn next(&mut self, rows: usize) -> Result<Option<Tensor>>;

    /// Where the source stands.
    fn position(&self) -> Position;

    /// Stand at `to`, so that the same rows follow as followed then.
    ///
    /// # Errors
    /// The source cannot go there.
    fn seek(&mut self, to: Position) -> Result<()>;
}
