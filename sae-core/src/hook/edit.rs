//! Edits: what a plan may do to an activation, as values that compose.

use candle_core::Tensor;

use super::{Axis, Cursor, HookName};
use crate::{Error, Result};

/// Changes an activation on its way through the model.
///
/// Closures are edits: `|act, _at| Ok((act * 2.0)?)`.
pub trait Intervene: Send + Sync {
    /// The activation that takes the place of `act`; it must keep its shape.
    ///
    /// # Errors
    /// Whatever keeps the edit from being made; the run ends with that error.
    fn apply(&self, act: Tensor, at: HookName) -> Result<Tensor>;

    /// As [`Intervene::apply`], for edits that have hook points of their own (a spliced SAE).
    ///
    /// # Errors
    /// As [`Intervene::apply`].
    fn apply_within(
        &self,
        act: Tensor,
        at: HookName,
        _hooks: &mut Cursor<'_, '_>,
    ) -> Result<Tensor> {
        self.apply(act, at)
    }

    /// Another place whose value the edit needs (a transcoder reads there); see [`Cursor::seen`].
    fn reads(&self) -> Option<HookName> {
        None
    }

    /// The hook points that this edit fires when it stands at `at`, in order.
    fn inner_places(&self, _at: HookName) -> Vec<HookName> {
        Vec::new()
    }

    /// Whether the edit can stand at a place whose activations are `width` wide per position,
    /// heads flattened (`None`: not a per-position place, such as attention scores).
    ///
    /// # Errors
    /// A width that does not fit.
    fn check(&self, _at: HookName, _width: Option<usize>) -> Result<()> {
        Ok(())
    }
}

impl<F: Fn(Tensor, HookName) -> Result<Tensor> + Send + Sync> Intervene for F {
    fn apply(&self, act: Tensor, at: HookName) -> Result<Tensor> {
        self(act, at)
    }
}

/// Add a tensor, broadcast against the activation.
#[derive(Clone, Debug)]
pub struct Add(pub Tensor);

/// Multiply by a number.
#[derive(Clone, Copy, Debug)]
pub struct Scale(pub f64);

/// Set to zero.
#[derive(Clone, Copy, Debug)]
pub struct Zero;

/// Put a tensor in place of the activation, broadcast to its shape.
#[derive(Clone, Debug)]
pub struct Replace(pub Tensor);

impl Intervene for Add {
    fn apply(&self, act: Tensor, _: HookName) -> Result<Tensor> {
        Ok(act.broadcast_add(&self.0.to_dtype(act.dtype())?)?)
    }
}

impl Intervene for Scale {
    fn apply(&self, act: Tensor, _: HookName) -> Result<Tensor> {
        Ok((act * self.0)?)
    }
}

impl Intervene for Zero {
    fn apply(&self, act: Tensor, _: HookName) -> Result<Tensor> {
        Ok(act.zeros_like()?)
    }
}

impl Intervene for Replace {
    fn apply(&self, act: Tensor, _: HookName) -> Result<Tensor> {
        Ok(self.0.to_dtype(act.dtype())?.broadcast_as(act.shape())?.contiguous()?)
    }
}

/// Ways to combine edits, as iterators are combined.
pub trait EditExt: Intervene + Sized {
    /// Only at these indices of one named axis: `Add(v).only(Axis::Pos, [3])`.
    fn only(self, axis: Axis, keep: impl IntoIterator<Item = usize>) -> Only<Self> {
        Only { edit: self, axis, keep: keep.into_iter().collect() }
    }

    /// This edit, then another.
    fn and<J: Intervene>(self, next: J) -> Both<Self, J> {
        Both(self, next)
    }
}

impl<I: Intervene> EditExt for I {}

/// An edit limited to some indices of one axis; made by [`EditExt::only`].
#[derive(Clone, Debug)]
pub struct Only<I> {
    edit: I,
    axis: Axis,
    keep: Vec<usize>,
}

impl<I> Only<I> {
    /// `edited` at the kept indices, `act` elsewhere.
    fn limit(&self, act: &Tensor, edited: &Tensor, at: HookName) -> Result<Tensor> {
        let dim = at
            .axes()
            .iter()
            .position(|a| *a == self.axis)
            .ok_or(Error::NoSuchAxis { at, axis: self.axis })?;
        let n = act.dim(dim)?;
        let mut mask = vec![0u8; n];
        for &index in &self.keep {
            *mask.get_mut(index).ok_or(Error::IndexOutOfRange {
                at,
                axis: self.axis,
                index,
                len: n,
            })? = 1;
        }
        let mut shape = vec![1; act.rank()];
        shape[dim] = n;
        let mask = Tensor::from_vec(mask, shape, act.device())?.broadcast_as(act.shape())?;
        if edited.shape() != act.shape() {
            let (got, want) = (edited.dims().to_vec(), act.dims().to_vec());
            return Err(Error::EditChangedShape { at, got, want });
        }
        Ok(mask.where_cond(edited, act)?)
    }
}

impl<I: Intervene> Intervene for Only<I> {
    fn apply(&self, act: Tensor, at: HookName) -> Result<Tensor> {
        self.limit(&act, &self.edit.apply(act.clone(), at)?, at)
    }

    fn apply_within(
        &self,
        act: Tensor,
        at: HookName,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<Tensor> {
        self.limit(&act, &self.edit.apply_within(act.clone(), at, hooks)?, at)
    }

    fn reads(&self) -> Option<HookName> {
        self.edit.reads()
    }

    fn inner_places(&self, at: HookName) -> Vec<HookName> {
        self.edit.inner_places(at)
    }

    fn check(&self, at: HookName, width: Option<usize>) -> Result<()> {
        self.edit.check(at, width)
    }
}

/// Two edits, one after the other; made by [`EditExt::and`].
#[derive(Clone, Debug)]
pub struct Both<I, J>(I, J);

impl<I: Intervene, J: Intervene> Intervene for Both<I, J> {
    fn apply(&self, act: Tensor, at: HookName) -> Result<Tensor> {
        self.1.apply(self.0.apply(act, at)?, at)
    }

    fn apply_within(
        &self,
        act: Tensor,
        at: HookName,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<Tensor> {
        let act = self.0.apply_within(act, at, hooks)?;
        self.1.apply_within(act, at, hooks)
    }

    fn inner_places(&self, at: HookName) -> Vec<HookName> {
        [self.0.inner_places(at), self.1.inner_places(at)].concat()
    }

    fn check(&self, at: HookName, width: Option<usize>) -> Result<()> {
        self.0.check(at, width)?;
        self.1.check(at, width)
    }
}
