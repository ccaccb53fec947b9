//! `Cursor`: a plan while a model runs it; `Run`: what came of it.

use std::collections::BTreeSet;

use candle_core::{Tensor, Var};

use super::plan::Step;
use super::{HookName, Logits, Plan};
use crate::model::Batch;
use crate::{Error, Result};

/// What a model holds while it runs a plan: one line per hook in model code.
pub struct Cursor<'p, 'a> {
    plan: &'p Plan<'a>,
    batch: Option<&'p Batch>,
    fired: BTreeSet<HookName>,
    run_through: bool,
    kept: Vec<(HookName, Tensor)>,
    remembered: Vec<(HookName, Tensor)>,
    taps: Vec<(HookName, Var)>,
}

impl<'p, 'a> Cursor<'p, 'a> {
    /// Begin to run `plan` on `batch` (`None` when a run starts from a residual stream).
    pub fn new(plan: &'p Plan<'a>, batch: Option<&'p Batch>) -> Self {
        Self {
            plan,
            batch,
            fired: BTreeSet::new(),
            run_through: false,
            kept: Vec::new(),
            remembered: Vec::new(),
            taps: Vec::new(),
        }
    }

    /// Never stop early: every block must be run for what it leaves behind (keys and values).
    #[must_use]
    pub fn run_through(mut self) -> Self {
        self.run_through = true;
        self
    }

    /// The tokens that are being run, if the run began from tokens.
    pub fn batch(&self) -> Option<&'p Batch> {
        self.batch
    }

    /// The value that an edit [reads](super::Intervene::reads) at another place.
    ///
    /// # Errors
    /// The place does not come before the edit in a forward pass.
    pub fn seen(&self, from: HookName) -> Result<Tensor> {
        let found = self.remembered.iter().rev().find(|(name, _)| *name == from);
        found.map(|(_, act)| act.clone()).ok_or(Error::NotSeenYet { at: from })
    }

    /// Pass the activation found at `at`; what comes back goes on through the model.
    ///
    /// # Errors
    /// An edit failed or changed the shape, or a position to keep does not exist.
    pub fn at(&mut self, at: HookName, act: Tensor) -> Result<Tensor> {
        let Some(steps) = self.plan.at(at) else { return Ok(act) };
        self.fired.insert(at);
        let shape = act.shape().clone();
        let mut act = act;
        for step in steps {
            match step {
                Step::Capture => {
                    let value = self.plan.slice().apply(&act, at)?;
                    match self.kept.iter_mut().find(|(name, _)| *name == at) {
                        Some(slot) => slot.1 = value,
                        None => self.kept.push((at, value)),
                    }
                }
                Step::Remember => self.remembered.push((at, act.clone())),
                Step::Intervene(how) => {
                    act = how.apply_within(act, at, self)?;
                    if *act.shape() != shape {
                        let (got, want) = (act.dims().to_vec(), shape.into_dims());
                        return Err(Error::EditChangedShape { at, got, want });
                    }
                }
                Step::Tap => {
                    let zero = Var::from_tensor(&act.zeros_like()?)?;
                    act = (act + zero.as_tensor())?;
                    self.taps.push((at, zero));
                }
            }
        }
        Ok(act)
    }

    /// Whether the plan does anything at `at`; fused kernels and costly views hang on this.
    pub fn wants(&self, at: HookName) -> bool {
        self.plan.at(at).is_some()
    }

    /// Whether the plan does anything at one of `names`.
    pub fn wants_any(&self, names: impl IntoIterator<Item = HookName>) -> bool {
        names.into_iter().any(|at| self.wants(at))
    }

    /// Whether nothing more is wanted, so that the model may stop.
    pub fn finished(&self) -> bool {
        let nothing_left = self.fired.len() == self.plan.places().count();
        !self.run_through && self.plan.wanted_logits() == Logits::Skip && nothing_left
    }

    /// End the run.
    pub fn done(self, logits: Option<Tensor>, resid: Option<Tensor>) -> Run {
        Run { logits, resid, kept: self.kept, taps: self.taps }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    logits: Option<Tensor>,
    resid: Option<Tensor>,
    kept: Vec<(HookName, Tensor)>,
    taps: Vec<(HookName, Var)>,
}

impl Run {
    /// `[batch, pos, d_vocab]`, if they were computed.
    pub fn logits(&self) -> Option<&Tensor> {
        self.logits.as_ref()
    }

    /// `[batch, pos, d_vocab]`.
    ///
    /// # Errors
    /// The plan did not ask for logits.
    pub fn require_logits(&self) -> Result<&Tensor> {
        self.logits.as_ref().ok_or(Error::NoLogits)
    }

    /// `[batch, pos, d_model]`: the residual stream where `stop_at_layer` ended the run.
    pub fn resid(&self) -> Option<&Tensor> {
        self.resid.as_ref()
    }

    /// The activation captured at `at`.
    pub fn get(&self, at: HookName) -> Option<&Tensor> {
        self.kept.iter().find(|(name, _)| *name == at).map(|(_, act)| act)
    }

    /// The activation captured at `at`.
    ///
    /// # Errors
    /// Nothing was captured there.
    pub fn require(&self, at: HookName) -> Result<&Tensor> {
        self.get(at).ok_or(Error::NotCaptured { at })
    }

    /// Everything captured, in order of first firing.
    pub fn captured(&self) -> &[(HookName, Tensor)] {
        &self.kept
    }

    /// The captures, in order of first firing.
    pub fn into_captured(self) -> Vec<(HookName, Tensor)> {
        self.kept
    }

    /// Gradients of the scalar `metric`, a function of this run's outputs, at every tapped place.
    ///
    /// # Errors
    /// The metric is not a scalar, or an operation in between has no backward.
    pub fn gradients(&self, metric: &Tensor) -> Result<Gradients> {
        let store = metric.backward()?;
        let grads = self
            .taps
            .iter()
            .map(|(at, var)| {
                let grad = store.get(var.as_tensor()).cloned();
                Ok((*at, grad.map_or_else(|| var.zeros_like(), Ok)?))
            })
            .collect::<Result<_>>()?;
        Ok(Gradients(grads))
    }
}

/// Gradients at tapped places, each of the shape of its activation.
#[derive(Debug)]
pub struct Gradients(Vec<(HookName, Tensor)>);

impl Gradients {
    /// The gradient at `at`.
    pub fn get(&self, at: HookName) -> Option<&Tensor> {
        self.0.iter().find(|(name, _)| *name == at).map(|(_, g)| g)
    }

    /// The gradient at `at`.
    ///
    /// # Errors
    /// The place was not tapped.
    pub fn require(&self, at: HookName) -> Result<&Tensor> {
        self.get(at).ok_or(Error::NotTapped { at })
    }
}
