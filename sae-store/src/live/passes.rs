//! `Passes`: forward passes over a dataset that begins again when it ends.

use sae_core::model::HookedModel;

use crate::Result;
use crate::harvest::Harvest;
use crate::tokens::{TokenRows, next_rows};

/// A forward pass that was made.
pub(super) struct Pass {
    /// Its number, from 0.
    pub(super) number: u64,
    /// `[rows, width]`, row-major.
    pub(super) values: Vec<f32>,
}

/// The passes that are still to be made.
pub(super) struct Passes<'m> {
    model: &'m dyn HookedModel,
    tokens: Box<dyn TokenRows + 'm>,
    harvest: Harvest,
    prompts_per_pass: usize,
    /// Number of the next pass.
    number: u64,
}

impl<'m> Passes<'m> {
    pub(super) fn new(
        model: &'m dyn HookedModel,
        tokens: Box<dyn TokenRows + 'm>,
        harvest: Harvest,
        prompts_per_pass: usize,
    ) -> Self {
        Self { model, tokens, harvest, prompts_per_pass: prompts_per_pass.max(1), number: 0 }
    }

    pub(super) fn context_size(&self) -> usize {
        self.tokens.context_size()
    }

    /// Make the next pass.
    ///
    /// # Errors
    /// The dataset cannot be read or is empty, or the model cannot run it.
    pub(super) fn make(&mut self) -> Result<Pass> {
        let (number, prompts) = self.skip()?;
        Ok(Pass { number, values: self.run(&prompts)? })
    }

    /// Number and prompts of the next pass, which is not made.
    ///
    /// # Errors
    /// The dataset cannot be read, or is empty.
    pub(super) fn skip(&mut self) -> Result<(u64, Vec<Vec<u32>>)> {
        let prompts = next_rows(self.tokens.as_mut(), self.prompts_per_pass)?;
        let number = self.number;
        self.number += 1;
        Ok((number, prompts))
    }

    /// Rows that a pass over `prompts` gives.
    ///
    /// # Errors
    /// Positions that the prompts do not have.
    pub(super) fn count(&self, prompts: &[Vec<u32>]) -> Result<usize> {
        self.harvest.count(prompts)
    }

    /// The rows of a pass over `prompts`.
    ///
    /// # Errors
    /// The model cannot run them.
    pub(super) fn run(&self, prompts: &[Vec<u32>]) -> Result<Vec<f32>> {
        Ok(self.harvest.run(self.model, prompts)?.rows.flatten_all()?.to_vec1()?)
    }

    /// Begin with the first pass again.
    ///
    /// # Errors
    /// The dataset cannot be read.
    pub(super) fn rewind(&mut self) -> Result<()> {
        self.tokens.rewind()?;
        self.number = 0;
        Ok(())
    }
}
