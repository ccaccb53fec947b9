//! `Live`: activations from a running model, mixed.
//!
//! Which row comes when depends only on tokens and seed. To come back to a position, the mixing is
//! played again on row numbers alone, and the model runs only for prompts of which rows are still in
//! the buffer.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use sae_core::model::HookedModel;
use sae_core::source::{ActivationSource, Position, SourceSpec};

use crate::harvest::Harvest;
use crate::mixer::{MixOptions, Mixer};
use crate::tokens::{TokenRows, next_rows};
use crate::{Error, Result};

/// A row by the forward pass it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowId {
    pass: u64,
    row: usize,
}

/// A row that was computed.
struct Row {
    id: RowId,
    values: Box<[f32]>,
}

/// A source that runs a model as rows are wanted, over a dataset that begins again when it ends.
pub struct Live<'m> {
    model: &'m dyn HookedModel,
    tokens: Box<dyn TokenRows + 'm>,
    harvest: Harvest,
    prompts_per_pass: usize,
    mix: MixOptions,
    mixer: Mixer<Row>,
    spec: SourceSpec,
    passes: u64,
    served: u64,
}

impl<'m> Live<'m> {
    /// Rows of `harvest` on prompts of `tokens`, `prompts_per_pass` at a time.
    ///
    /// # Errors
    /// A hook that does not fit the model, or a buffer that cannot mix.
    pub fn new(
        model: &'m dyn HookedModel,
        tokens: impl TokenRows + 'm,
        harvest: Harvest,
        prompts_per_pass: usize,
        mix: MixOptions,
    ) -> Result<Self> {
        let width = harvest.width(model)?;
        let spec = SourceSpec { hook: harvest.hook, width, rows: None };
        let mixer = Mixer::new(mix)?;
        let prompts_per_pass = prompts_per_pass.max(1);
        let tokens = Box::new(tokens);
        let (passes, served) = (0, 0);
        Ok(Self { model, tokens, harvest, prompts_per_pass, mix, mixer, spec, passes, served })
    }

    /// Run the model on the next prompts.
    fn pass(&mut self) -> Result<()> {
        // A dataset whose every token is left out would never fill the buffer.
        const FRUITLESS: usize = 1000;
        for _ in 0..FRUITLESS {
            let prompts = next_rows(self.tokens.as_mut(), self.prompts_per_pass)?;
            let values = values(&self.harvest, self.model, &prompts)?;
            let pass = self.passes;
            self.passes += 1;
            let rows = values.chunks_exact(self.spec.width.max(1)).enumerate();
            let before = self.mixer.len();
            self.mixer.push(rows.map(|(row, v)| Row { id: RowId { pass, row }, values: v.into() }));
            if self.mixer.len() > before {
                return Ok(());
            }
        }
        Err(Error::NoRows { context_size: self.tokens.context_size() })
    }

    fn fill(&mut self) -> Result<()> {
        while self.mixer.ready() == 0 {
            self.pass()?;
        }
        Ok(())
    }

    fn rows(&mut self, rows: usize) -> Result<Tensor> {
        let mut values = Vec::with_capacity(rows * self.spec.width);
        for _ in 0..rows {
            self.fill()?;
            if let Some(row) = self.mixer.pop() {
                values.extend_from_slice(&row.values);
                self.served += 1;
            }
        }
        Ok(Tensor::from_vec(values, (rows, self.spec.width), &Device::Cpu)?)
    }

    fn go_to(&mut self, to: u64) -> Result<()> {
        if to < self.served {
            self.tokens.rewind()?;
            self.mixer = Mixer::new(self.mix)?;
            (self.passes, self.served) = (0, 0);
        }
        let mixer = std::mem::replace(&mut self.mixer, Mixer::new(self.mix)?);
        // What is in the buffer now is kept; the rest of the way is played on row numbers.
        let mut have: BTreeMap<(u64, usize), Box<[f32]>> = BTreeMap::new();
        let mut ids = mixer.try_map(|row| {
            have.insert((row.id.pass, row.id.row), row.values);
            Ok::<_, Error>(row.id)
        })?;
        let mut ahead: BTreeMap<u64, Vec<Vec<u32>>> = BTreeMap::new();
        while self.served < to {
            if ids.pop().is_some() {
                self.served += 1;
                continue;
            }
            let prompts = next_rows(self.tokens.as_mut(), self.prompts_per_pass)?;
            let (pass, n) = (self.passes, self.harvest.count(&prompts)?);
            self.passes += 1;
            ids.push((0..n).map(|row| RowId { pass, row }));
            ahead.insert(pass, prompts);
            let wanted: std::collections::BTreeSet<u64> = ids.iter().map(|id| id.pass).collect();
            ahead.retain(|pass, _| wanted.contains(pass));
        }
        let wanted: std::collections::BTreeSet<u64> = ids.iter().map(|id| id.pass).collect();
        for (pass, prompts) in ahead.into_iter().filter(|(pass, _)| wanted.contains(pass)) {
            let values = values(&self.harvest, self.model, &prompts)?;
            for (row, values) in values.chunks_exact(self.spec.width.max(1)).enumerate() {
                have.insert((pass, row), values.into());
            }
        }
        self.mixer = ids.try_map(|id| {
            let values = have.remove(&(id.pass, id.row));
            let values = values.ok_or(Error::Beyond { row: to, rows: self.served })?;
            Ok::<_, Error>(Row { id, values })
        })?;
        Ok(())
    }
}

fn values(harvest: &Harvest, model: &dyn HookedModel, prompts: &[Vec<u32>]) -> Result<Vec<f32>> {
    Ok(harvest.run(model, prompts)?.rows.flatten_all()?.to_vec1()?)
}

impl ActivationSource for Live<'_> {
    fn spec(&self) -> &SourceSpec {
        &self.spec
    }

    fn next(&mut self, rows: usize) -> sae_core::Result<Option<Tensor>> {
        Ok(Some(self.rows(rows).map_err(crate::error::into_core)?))
    }

    fn position(&self) -> Position {
        Position { row: self.served }
    }

    fn seek(&mut self, to: Position) -> sae_core::Result<()> {
        self.go_to(to.row).map_err(crate::error::into_core)
    }
}
