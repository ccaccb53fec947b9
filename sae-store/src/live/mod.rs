//! `Live`: activations from a running model, mixed.
//!
//! Which row comes when depends only on tokens and seed. To come back to a position, the mixing is
//! played again on row numbers alone, and the model runs only for prompts of which rows are still in
//! the buffer.

mod feed;
mod passes;

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};
use sae_core::model::HookedModel;
use sae_core::source::{ActivationSource, Position, SourceSpec};

use crate::harvest::Harvest;
use crate::mixer::{MixOptions, Mixer};
use crate::tokens::TokenRows;
use crate::{Error, Result};
use feed::Feed;
use passes::{Pass, Passes};

/// Passes without a row after which none is expected any more.
const FRUITLESS: usize = 1000;

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
    feed: Feed<'m>,
    mix: MixOptions,
    mixer: Mixer<Row>,
    spec: SourceSpec,
    context_size: usize,
    served: u64,
}

impl<'m> Live<'m> {
    /// Rows of `harvest` on prompts of `tokens`, `prompts_per_pass` at a time.
    ///
    /// # Errors
    /// A hook or positions that do not fit the model and its prompts, or a buffer that cannot mix.
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
        let passes = Passes::new(model, Box::new(tokens), harvest, prompts_per_pass);
        let context_size = passes.context_size();
        Ok(Self { feed: Feed::new(passes), mix, mixer, spec, context_size, served: 0 })
    }

    /// Do `act` with this source, while another thread runs the model up to `passes` forward passes ahead
    /// of it. Which rows come, and their bits, are the same as without; 0 is without.
    ///
    /// Memory grows by `passes` and one passes. When `act` ends, however it ends, the thread ends after
    /// the pass at hand. Where a pass fails, the error comes in its place among the rows.
    ///
    /// ```no_run
    /// # fn train(_: &mut dyn sae_core::source::ActivationSource) {}
    /// # fn example(live: sae_store::Live<'_>) {
    /// live.ahead(1, |source| train(source));
    /// # }
    /// ```
    pub fn ahead<T>(mut self, passes: usize, act: impl FnOnce(&mut Self) -> T) -> T {
        if passes == 0 {
            return act(&mut self);
        }
        let worker = self.feed.ahead(passes);
        std::thread::scope(move |scope| {
            scope.spawn(|| worker.work());
            // (Dropped before the scope ends, the source tells the thread to end.)
            let mut source = self;
            act(&mut source)
        })
    }

    /// Take passes until some rows can be served.
    fn fill(&mut self) -> Result<()> {
        let mut fruitless = 0;
        while self.mixer.ready() == 0 {
            let Pass { number: pass, values } = self.feed.next()?;
            let before = self.mixer.len();
            let rows = values.chunks_exact(self.spec.width.max(1)).enumerate();
            self.mixer.push(rows.map(|(row, v)| Row { id: RowId { pass, row }, values: v.into() }));
            fruitless = self.fruitless(fruitless, self.mixer.len() - before)?;
        }
        Ok(())
    }

    /// Passes without a row in a row, after one with `rows` of them.
    fn fruitless(&self, before: usize, rows: usize) -> Result<usize> {
        match before + 1 {
            _ if rows > 0 => Ok(0),
            // A dataset whose every token is left out would never fill the buffer.
            FRUITLESS => Err(Error::NoRows { context_size: self.context_size }),
            fruitless => Ok(fruitless),
        }
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
            self.feed.rewind()?;
            self.mixer = Mixer::new(self.mix)?;
            self.served = 0;
        }
        // Stops the thread, if there is one: what it has made so far can be taken now.
        self.feed.recall()?;
        let mixer = std::mem::replace(&mut self.mixer, Mixer::new(self.mix)?);
        // What was computed is kept; the rest of the way is played on row numbers.
        let mut have: BTreeMap<(u64, usize), Box<[f32]>> = BTreeMap::new();
        let mut ids = mixer.try_map(|row| {
            have.insert((row.id.pass, row.id.row), row.values);
            Ok::<_, Error>(row.id)
        })?;
        let mut ahead: BTreeMap<u64, Vec<Vec<u32>>> = BTreeMap::new();
        let wanted =
            |ids: &Mixer<RowId>| -> BTreeSet<u64> { ids.iter().map(|id| id.pass).collect() };
        let mut fruitless = 0;
        while self.served < to {
            if ids.pop().is_some() {
                self.served += 1;
                continue;
            }
            let (pass, n) = match self.feed.take_made() {
                Some(made) => keep(&mut have, &made, self.spec.width),
                None => {
                    let passes = self.feed.recall()?;
                    let (pass, prompts) = passes.skip()?;
                    let n = passes.count(&prompts)?;
                    ahead.insert(pass, prompts);
                    (pass, n)
                }
            };
            fruitless = self.fruitless(fruitless, n)?;
            ids.push((0..n).map(|row| RowId { pass, row }));
            let wanted = wanted(&ids);
            ahead.retain(|pass, _| wanted.contains(pass));
        }
        let wanted = wanted(&ids);
        for (number, prompts) in ahead.into_iter().filter(|(pass, _)| wanted.contains(pass)) {
            let values = self.feed.recall()?.run(&prompts)?;
            keep(&mut have, &Pass { number, values }, self.spec.width);
        }
        self.mixer = ids.try_map(|id| {
            let values = have.remove(&(id.pass, id.row));
            let values = values.ok_or(Error::Beyond { row: to, rows: self.served })?;
            Ok::<_, Error>(Row { id, values })
        })?;
        Ok(())
    }
}

/// Keep the rows of a pass; its number, and how many rows it has.
fn keep(have: &mut BTreeMap<(u64, usize), Box<[f32]>>, pass: &Pass, width: usize) -> (u64, usize) {
    let rows = pass.values.chunks_exact(width.max(1)).enumerate();
    let n = rows.len();
    have.extend(rows.map(|(row, values)| ((pass.number, row), values.into())));
    (pass.number, n)
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
