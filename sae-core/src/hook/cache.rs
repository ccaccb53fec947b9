//! `ActivationCache`: activations by name, in the order in which they fired.

use candle_core::Tensor;

use super::HookName;
use crate::{Error, Result};

/// Which names to cache; TransformerLens' `names_filter`.
#[derive(Default)]
pub enum NamesFilter<'a> {
    /// Every hook that fires.
    #[default]
    All,
    /// These names.
    Names(Vec<HookName>),
    /// The names for which the predicate holds.
    Predicate(Box<dyn Fn(HookName) -> bool + 'a>),
}

impl NamesFilter<'_> {
    /// Whether `name` is to be cached.
    pub fn admits(&self, name: HookName) -> bool {
        match self {
            Self::All => true,
            Self::Names(list) => list.contains(&name),
            Self::Predicate(holds) => holds(name),
        }
    }
}

/// Activations by name, in order of first firing.
#[derive(Clone, Debug, Default)]
pub struct ActivationCache(Vec<(HookName, Tensor)>);

impl ActivationCache {
    /// A cache of these activations.
    pub fn new(entries: Vec<(HookName, Tensor)>) -> Self {
        Self(entries)
    }

    /// The activation cached at `at`.
    ///
    /// # Errors
    /// It was not cached.
    pub fn get(&self, at: HookName) -> Result<&Tensor> {
        let found = self.0.iter().find(|(name, _)| *name == at);
        found.map(|(_, act)| act).ok_or(Error::NotCaptured { at })
    }

    /// The activation cached under a name written as TransformerLens writes it.
    ///
    /// # Errors
    /// No such hook, or not cached.
    pub fn by_name(&self, name: &str) -> Result<&Tensor> {
        self.get(name.parse()?)
    }

    /// The names, in order of first firing.
    pub fn names(&self) -> impl Iterator<Item = HookName> + '_ {
        self.0.iter().map(|(name, _)| *name)
    }

    /// Names and activations, in order of first firing.
    pub fn iter(&self) -> impl Iterator<Item = (HookName, &Tensor)> {
        self.0.iter().map(|(name, act)| (*name, act))
    }

    /// Drop the batch axis of every activation.
    ///
    /// # Errors
    /// The batch holds more than one prompt.
    pub fn remove_batch_dim(self) -> Result<Self> {
        let squeeze = |(name, act): (HookName, Tensor)| match act.dim(0)? {
            1 => Ok((name, act.squeeze(0)?)),
            batch => Err(Error::BatchNotOne { at: name, batch }),
        };
        Ok(Self(self.0.into_iter().map(squeeze).collect::<Result<_>>()?))
    }
}
