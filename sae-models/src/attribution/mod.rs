//! What a residual stream is made of, and what its parts do to the logits: TransformerLens'
//! `ActivationCache` helpers, on a cache of one run and the model that made it.

mod parts;
mod resid;
mod stack;

pub use resid::Sublayers;
pub use stack::{Stack, StackOptions};

use candle_core::Tensor;
use sae_core::hook::{ActivationCache, HookName, PosSlice, Site};
use sae_core::ops::Centre;
use sae_core::{Error, Result};

use crate::decoder::Decoder;

/// A model and the activations of one of its runs, batch axis included.
#[derive(Clone, Copy, Debug)]
pub struct CachedRun<'r> {
    model: &'r Decoder,
    cache: &'r ActivationCache,
}

impl Decoder {
    /// What one run's activations, of all positions and with the batch axis, say about its residual
    /// stream.
    ///
    /// ```no_run
    /// # use sae_core::{hook::Plan, model::{Batch, CacheOptions, HookedModelExt}};
    /// # use sae_models::StackOptions;
    /// # fn of(model: &sae_models::Decoder, batch: &Batch) -> sae_models::Result<()> {
    /// let (_, cache) = model.run_with_cache(batch, Plan::new(), CacheOptions::default())?;
    /// let parts = model.cached(&cache).stack_head_results(&StackOptions::default(), false)?;
    /// assert_eq!(parts.labels[0], "L0H0");
    /// # Ok(()) }
    /// ```
    pub fn cached<'r>(&'r self, cache: &'r ActivationCache) -> CachedRun<'r> {
        CachedRun { model: self, cache }
    }
}

impl CachedRun<'_> {
    fn n_layers(&self) -> u16 {
        self.model.config.spec.n_layers
    }

    /// The layer that `options` ends before; the number of layers when it ends before the unembedding.
    fn layer(&self, options: &StackOptions) -> Result<u16> {
        let n_layers = self.n_layers();
        let layer = options.layer.unwrap_or(n_layers);
        // There is no MLP behind the last layer.
        if layer > n_layers || (layer == n_layers && options.mlp_input) {
            return Err(Error::LayerOutOfRange { layer: i32::from(layer), n_layers });
        }
        Ok(layer)
    }

    /// The activation at the positions that are asked for.
    fn sliced(&self, at: HookName, slice: &PosSlice) -> Result<Tensor> {
        slice.apply(self.cache.get(at)?, at)
    }

    /// Each part as the norm would scale it when it reads the sum of all: centred where the norm
    /// centres, and divided by the *cached* scale, so that parts still sum to the whole. `stack` `[part,
    /// batch, pos, d_model]`. Without gain and bias: they are in the weights, if `fold_ln` was done.
    ///
    /// # Errors
    /// The norm's scale was not cached, or has other positions than the stack.
    pub fn apply_ln_to_stack(&self, stack: &Tensor, options: &StackOptions) -> Result<Tensor> {
        let layer = self.layer(options)?;
        let (at, centre) = if layer == self.n_layers() {
            (HookName::FINAL_SCALE, self.model.config.final_norm)
        } else {
            let site = if options.mlp_input { Site::Ln2Scale } else { Site::Ln1Scale };
            (HookName::block(layer, site), self.model.config.norm)
        };
        let centred = match centre {
            Centre::Mean => Centre::Mean.subtract(stack)?,
            Centre::Zero => stack.clone(),
        };
        Ok(centred.broadcast_div(&self.sliced(at, &options.pos_slice)?)?)
    }

    /// What each part of a stack adds to the logit of `tokens`, or to its distance from the logit of
    /// `incorrect`: `[part, batch, pos]`. `tokens` is one token, one per prompt `[batch]`, or one per
    /// position `[batch, pos]`. The scale is that of the final norm, at `pos_slice`.
    ///
    /// With processed weights (`fold_ln`) the parts sum to the logit, less its bias.
    ///
    /// # Errors
    /// `ln_final.hook_scale` was not cached, a token that the vocabulary does not have, or shapes that
    /// do not fit each other.
    pub fn logit_attrs(
        &self,
        stack: &Tensor,
        tokens: &Tensor,
        incorrect: Option<&Tensor>,
        pos_slice: &PosSlice,
    ) -> Result<Tensor> {
        let mut directions = self.model.tokens_to_residual_directions(tokens)?;
        if let Some(incorrect) = incorrect {
            if incorrect.dims() != tokens.dims() {
                return Err(Error::InputShape {
                    what: "the incorrect tokens",
                    got: incorrect.dims().to_vec(),
                    want: format!("{:?}, as the tokens", tokens.dims()),
                });
            }
            directions = (directions - self.model.tokens_to_residual_directions(incorrect)?)?;
        }
        // One token per prompt stands for all its positions.
        if tokens.rank() == 1 {
            directions = directions.unsqueeze(1)?;
        }
        let options = StackOptions { pos_slice: pos_slice.clone(), ..StackOptions::default() };
        let scaled = self.apply_ln_to_stack(stack, &options)?;
        Ok(scaled.broadcast_mul(&directions)?.sum(candle_core::D::Minus1)?)
    }

    /// What the model would say if it ended at each layer: the final norm, computed anew, and the
    /// unembedding, on the residual stream before each layer and after the last (nostalgebraist 2020,
    /// the logit lens): `[layers + 1, batch, pos, d_vocab]`, labelled as [`Self::accumulated_resid`].
    ///
    /// # Errors
    /// A residual stream was not cached.
    pub fn logit_lens(&self, pos_slice: &PosSlice) -> Result<Stack> {
        use sae_core::model::HookedModel;
        let options = StackOptions { pos_slice: pos_slice.clone(), ..StackOptions::default() };
        let stack = self.accumulated_resid(&options, false)?;
        Ok(Stack { components: self.model.unembed(&stack.components)?, ..stack })
    }
}
