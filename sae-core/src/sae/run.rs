//! Running a model with SAEs, under the names SAELens users look for.

use super::{Sae, SaeExt};
use crate::Result;
use crate::hook::{ActivationCache, Plan, Run};
use crate::model::{Batch, CacheOptions, HookedModel, HookedModelExt};

/// SAELens' `HookedSAETransformer`: each call attaches the SAEs for its own duration only.
pub trait RunWithSaes: HookedModel {
    /// Run with the SAEs in place of what they read, or with their error terms added back.
    ///
    /// # Errors
    /// As [`HookedModel::run`], and SAEs that do not fit the model or each other.
    fn run_with_saes(&self, batch: &Batch, saes: &[&dyn Sae], use_error_term: bool) -> Result<Run> {
        self.run(batch, &Plan::new().with_saes(saes, use_error_term)?)
    }

    /// The same with a cache, in which the SAEs' points (`blocks.7.hook_resid_pre.hook_sae_acts_post`)
    /// stand in place of the hooks they are attached to.
    ///
    /// # Errors
    /// As [`RunWithSaes::run_with_saes`].
    fn run_with_cache_with_saes<'a>(
        &self,
        batch: &Batch,
        saes: &[&'a dyn Sae],
        use_error_term: bool,
        options: CacheOptions<'a>,
    ) -> Result<(Run, ActivationCache)> {
        self.run_with_cache(batch, Plan::new().with_saes(saes, use_error_term)?, options)
    }
}

impl<M: HookedModel + ?Sized> RunWithSaes for M {}
