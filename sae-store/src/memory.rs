//! `MemorySource`: rows that are already in memory.

use candle_core::{Device, Tensor};
use sae_core::hook::HookName;
use sae_core::source::{ActivationSource, Position, SourceSpec};
use sae_core::{Error, Result};

/// Rows of activations in memory, in order, once.
#[derive(Clone, Debug)]
pub struct MemorySource {
    spec: SourceSpec,
    values: Vec<f32>,
    at: u64,
}

impl MemorySource {
    /// `values`: `[rows, width]`, row-major.
    ///
    /// # Errors
    /// Values that are no whole number of rows.
    pub fn new(hook: HookName, width: usize, values: Vec<f32>) -> Result<Self> {
        if width == 0 || !values.len().is_multiple_of(width) {
            let want = format!("[rows, {width}]");
            return Err(Error::InputShape {
                what: "rows of activations",
                got: vec![values.len()],
                want,
            });
        }
        let rows = Some((values.len() / width) as u64);
        Ok(Self { spec: SourceSpec { hook, width, rows }, values, at: 0 })
    }

    fn rows(&self) -> u64 {
        self.spec.rows.unwrap_or(0)
    }
}

impl ActivationSource for MemorySource {
    fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    fn next(&mut self, rows: usize) -> Result<Option<Tensor>> {
        let n = (rows as u64).min(self.rows() - self.at);
        if n == 0 {
            return Ok(None);
        }
        let (from, n) = (index(self.at), index(n));
        let width = self.spec.width;
        self.at += n as u64;
        let values = &self.values[from * width..(from + n) * width];
        Ok(Some(Tensor::from_slice(values, (n, width), &Device::Cpu)?))
    }

    fn position(&self) -> Position {
        Position { row: self.at }
    }

    fn seek(&mut self, to: Position) -> Result<()> {
        if to.row > self.rows() {
            let want = format!("at most {} rows", self.rows());
            let got = vec![index(to.row)];
            return Err(Error::InputShape { what: "a position", got, want });
        }
        self.at = to.row;
        Ok(())
    }
}

/// A row number of something in memory.
fn index(row: u64) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}
