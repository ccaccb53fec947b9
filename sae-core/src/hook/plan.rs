//! `Plan`: what to read and change in one forward pass.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{HookName, Intervene, PosSlice};
use crate::model::HookedModel;
use crate::{Error, Result};

/// How much of the logits a run computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logits {
    /// Logits of every position.
    #[default]
    All,
    /// Logits of the last position only, `[batch, 1, d_vocab]`: what generation needs.
    Last,
    /// None: the run ends as soon as the last wanted place has fired.
    Skip,
}

#[derive(Clone)]
pub(super) enum Step<'a> {
    Capture,
    Intervene(Arc<dyn Intervene + 'a>),
    /// Keep the value for an edit that stands at a later place.
    Remember,
    Tap,
}

/// What to read and change in one forward pass. Reusable; nothing happens until a model runs it.
///
/// The steps at one place run in the order in which they were given, captures included: a capture
/// sees what the steps before it made of the activation.
///
/// ```
/// use sae_core::hook::{HookName, Logits, Plan, Scale};
///
/// let at = HookName::resid_post(1);
/// let plan = Plan::new().intervene(at, Scale(2.0)).capture(at).logits(Logits::Skip);
/// assert_eq!(plan.places().collect::<Vec<_>>(), [at]);
/// ```
#[derive(Clone, Default)]
pub struct Plan<'a> {
    steps: BTreeMap<HookName, Vec<Step<'a>>>,
    logits: Logits,
    stop_at_layer: Option<i32>,
    pos_slice: PosSlice,
}

impl<'a> Plan<'a> {
    /// A plan that reads and changes nothing, and asks for all logits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keep the activation found at `at`.
    #[must_use]
    pub fn capture(mut self, at: HookName) -> Self {
        self.push(at, Step::Capture);
        self
    }

    /// Keep the activations found at each of `names`.
    #[must_use]
    pub fn capture_all(self, names: impl IntoIterator<Item = HookName>) -> Self {
        names.into_iter().fold(self, Self::capture)
    }

    /// Change the activation found at `at`.
    #[must_use]
    pub fn intervene(mut self, at: HookName, how: impl Intervene + 'a) -> Self {
        if let Some(from) = how.reads() {
            self.push(from, Step::Remember);
        }
        self.push(at, Step::Intervene(Arc::new(how)));
        self
    }

    /// Make the gradient at `at` available after the run: see [`super::Run::gradients`].
    ///
    /// Adds a zero leaf to the activation. The gradient is with respect to the value as the steps
    /// before left it; values do not change.
    #[must_use]
    pub fn tap(mut self, at: HookName) -> Self {
        self.push(at, Step::Tap);
        self
    }

    /// Ask for all, the last, or no logits.
    #[must_use]
    pub fn logits(mut self, want: Logits) -> Self {
        self.logits = want;
        self
    }

    /// Run blocks `0..layer` only and return the residual stream there (`Run::resid`); negative
    /// counts from the end, `0` gives the embeddings. TransformerLens' `stop_at_layer`.
    #[must_use]
    pub fn stop_at_layer(mut self, layer: i32) -> Self {
        self.stop_at_layer = Some(layer);
        self
    }

    /// Keep only these positions in captures.
    #[must_use]
    pub fn pos_slice(mut self, slice: PosSlice) -> Self {
        self.pos_slice = slice;
        self
    }

    /// This plan's steps, then those of `other`, whose choices of logits, stop and slice hold.
    #[must_use]
    pub fn then(mut self, other: Plan<'a>) -> Self {
        for (at, steps) in other.steps {
            self.steps.entry(at).or_default().extend(steps);
        }
        Self { steps: self.steps, ..other }
    }

    /// The places at which something is to be done, in name order.
    pub fn places(&self) -> impl Iterator<Item = HookName> + '_ {
        self.steps.keys().copied()
    }

    /// The logits that were asked for.
    pub fn wanted_logits(&self) -> Logits {
        self.logits
    }

    /// The layer before which to stop, resolved against the model's depth.
    ///
    /// # Errors
    /// A layer outside `-n_layers..=n_layers`.
    pub fn stop_layer(&self, n_layers: u16) -> Result<Option<u16>> {
        let Some(layer) = self.stop_at_layer else { return Ok(None) };
        let resolved = if layer < 0 { layer + i32::from(n_layers) } else { layer };
        match u16::try_from(resolved) {
            Ok(l) if l <= n_layers => Ok(Some(l)),
            _ => Err(Error::LayerOutOfRange { layer, n_layers }),
        }
    }

    /// Whether a gradient may be asked for after the run.
    pub fn has_taps(&self) -> bool {
        self.steps.values().flatten().any(|s| matches!(s, Step::Tap))
    }

    /// The hook points that the edits of this plan add to the model's own, in the order of `at`.
    pub fn inner_places(&self, at: HookName) -> Vec<HookName> {
        let edits = self.steps.get(&at).into_iter().flatten();
        edits
            .filter_map(|s| match s {
                Step::Intervene(how) => Some(how.inner_places(at)),
                _ => None,
            })
            .flatten()
            .collect()
    }

    /// Whether every step of the plan can happen in this model.
    ///
    /// # Errors
    /// The first place that the model does not have (unknown to it, layer out of range, or in need
    /// of an opt-in), or the first edit that does not fit its place.
    pub fn check<M: HookedModel + ?Sized>(&self, model: &M) -> Result<()> {
        for (&at, steps) in &self.steps {
            if at.sae_site().is_some() {
                model.width_at(at.base())?;
                if !self.inner_places(at.base()).contains(&at) {
                    return Err(Error::NoSaeThere { at });
                }
                continue;
            }
            let width = model.width_at(at)?;
            for step in steps {
                if let Step::Intervene(how) = step {
                    how.check(at, width)?;
                }
            }
        }
        self.stop_layer(model.spec().n_layers).map(drop)
    }

    pub(super) fn at(&self, at: HookName) -> Option<&[Step<'a>]> {
        self.steps.get(&at).map(Vec::as_slice)
    }

    pub(super) fn slice(&self) -> &PosSlice {
        &self.pos_slice
    }

    fn push(&mut self, at: HookName, step: Step<'a>) {
        self.steps.entry(at).or_default().push(step);
    }
}
