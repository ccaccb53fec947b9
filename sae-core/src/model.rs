//! `HookedModel`: a transformer that reports every intermediate and accepts changes to it.

use candle_core::{DType, Device, Tensor};

use crate::hook::{ActivationCache, HookName, Logits, NamesFilter, Plan, PosSlice, Run};
use crate::{Error, Result};

/// What is known of a model without running it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// What the model calls itself.
    pub name: String,
    /// Blocks.
    pub n_layers: u16,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Key/value heads; fewer than `n_heads` under grouped-query attention.
    pub n_key_value_heads: usize,
    /// Width of one head.
    pub d_head: usize,
    /// Width of the MLP.
    pub d_mlp: usize,
    /// Entries of the vocabulary.
    pub d_vocab: usize,
    /// Longest prompt, in tokens.
    pub n_ctx: usize,
}

/// Prompts to run: token ids, and which of them are padding.
#[derive(Clone, Debug)]
pub struct Batch {
    ids: Tensor,
    mask: Option<Tensor>,
}

impl Batch {
    /// `ids`: `[batch, pos]`, u32.
    ///
    /// # Errors
    /// Another rank or type, or no token at all.
    #[allow(clippy::needless_pass_by_value)] // a tensor is a handle
    pub fn new(ids: Tensor) -> Result<Self> {
        match ids.dims() {
            [_, _] if ids.elem_count() == 0 => Err(Error::EmptyPrompt),
            [_, _] => Ok(Self { ids: ids.to_dtype(DType::U32)?, mask: None }),
            dims => Err(Error::InputShape {
                what: "tokens",
                got: dims.to_vec(),
                want: "[batch, pos]".to_owned(),
            }),
        }
    }

    /// One prompt.
    ///
    /// # Errors
    /// No token at all.
    pub fn single(ids: &[u32]) -> Result<Self> {
        Self::new(Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?)
    }

    /// Prompts of equal length.
    ///
    /// # Errors
    /// Unequal lengths, or no token at all.
    pub fn rows(rows: &[Vec<u32>]) -> Result<Self> {
        let width = rows.first().map_or(0, Vec::len);
        if let Some(odd) = rows.iter().find(|r| r.len() != width) {
            let want = format!("{width} tokens in every row");
            return Err(Error::InputShape { what: "a row of tokens", got: vec![odd.len()], want });
        }
        let flat: Vec<u32> = rows.concat();
        Self::new(Tensor::from_vec(flat, (rows.len(), width), &Device::Cpu)?)
    }

    /// `mask`: `[batch, pos]`, 1 for tokens and 0 for padding.
    ///
    /// # Errors
    /// Another shape than that of the tokens.
    pub fn with_mask(mut self, mask: &Tensor) -> Result<Self> {
        if mask.dims() != self.ids.dims() {
            return Err(Error::InputShape {
                what: "the attention mask",
                got: mask.dims().to_vec(),
                want: format!("{:?}, as the tokens", self.ids.dims()),
            });
        }
        self.mask = Some(mask.to_dtype(DType::U8)?);
        Ok(self)
    }

    /// Token ids, `[batch, pos]`, u32.
    pub fn ids(&self) -> &Tensor {
        &self.ids
    }

    /// `[batch, pos]`, u8, 1 for tokens and 0 for padding; `None` when nothing is padding.
    pub fn mask(&self) -> Option<&Tensor> {
        self.mask.as_ref()
    }
}

/// A transformer with named hooks.
pub trait HookedModel: Send + Sync {
    /// What is known of the model without running it.
    fn spec(&self) -> &ModelSpec;

    /// Every hook that fires in a full run, in order.
    fn places(&self) -> Vec<HookName>;

    /// Width per position at a hook, heads flattened; `None` where the activation is not one
    /// vector per position (scores, patterns).
    ///
    /// # Errors
    /// The hook never fires in this model: says which would, or what flag it needs.
    fn width_at(&self, at: HookName) -> Result<Option<usize>>;

    /// Run the model on tokens.
    ///
    /// # Errors
    /// A plan that does not fit the model, or a prompt that does not fit its context.
    fn run(&self, batch: &Batch, plan: &Plan<'_>) -> Result<Run>;

    /// Run blocks `from_layer..` on a residual stream, `[batch, pos, d_model]`; `mask` as in
    /// [`Batch::with_mask`]. TransformerLens' `start_at_layer`.
    ///
    /// # Errors
    /// As [`HookedModel::run`], and a layer or width that the model does not have.
    fn resume(
        &self,
        resid: &Tensor,
        from_layer: i32,
        mask: Option<&Tensor>,
        plan: &Plan<'_>,
    ) -> Result<Run>;

    /// Final norm and unembedding, `[.., d_model] -> [.., d_vocab]`.
    ///
    /// # Errors
    /// Another width than `d_model`.
    fn unembed(&self, resid: &Tensor) -> Result<Tensor>;
}

/// What [`HookedModelExt::run_with_cache`] keeps.
#[derive(Default)]
pub struct CacheOptions<'a> {
    /// Which names.
    pub names: NamesFilter<'a>,
    /// Which positions.
    pub pos_slice: PosSlice,
    /// Drop the batch axis; the batch must hold one prompt.
    pub remove_batch_dim: bool,
    /// Run blocks before this layer only.
    pub stop_at_layer: Option<i32>,
    /// Which logits to compute.
    pub logits: Logits,
}

/// Conveniences over [`HookedModel`], under the names TransformerLens users look for.
pub trait HookedModelExt: HookedModel {
    /// `[batch, pos, d_vocab]`.
    ///
    /// # Errors
    /// As [`HookedModel::run`].
    fn logits(&self, batch: &Batch) -> Result<Tensor> {
        Ok(self.run(batch, &Plan::new())?.require_logits()?.clone())
    }

    /// The activation at one hook; the run stops there.
    ///
    /// # Errors
    /// As [`HookedModel::run`].
    fn activations(&self, batch: &Batch, at: HookName) -> Result<Tensor> {
        let plan = Plan::new().capture(at).logits(Logits::Skip);
        Ok(self.run(batch, &plan)?.require(at)?.clone())
    }

    /// The hooks that fire when `plan` is run: the model's own, less those that a spliced SAE
    /// replaces, plus the SAE's.
    fn places_with(&self, plan: &Plan<'_>) -> Vec<HookName> {
        let spliced = |at: HookName| {
            let inner = plan.inner_places(at);
            if inner.is_empty() { vec![at] } else { inner }
        };
        self.places().into_iter().flat_map(spliced).collect()
    }

    /// Run `plan` and keep what `options` asks for, in order of first firing.
    ///
    /// Captures come after the plan's own steps at each hook, as in TransformerLens.
    ///
    /// # Errors
    /// As [`HookedModel::run`], and more than one prompt with `remove_batch_dim`.
    fn run_with_cache<'a>(
        &self,
        batch: &Batch,
        plan: Plan<'a>,
        options: CacheOptions<'a>,
    ) -> Result<(Run, ActivationCache)> {
        let plan = cache_plan(self, plan, &options)?;
        finish(self.run(batch, &plan)?, options.remove_batch_dim)
    }
}

impl<M: HookedModel + ?Sized> HookedModelExt for M {}

/// The plan with the captures that `options` asks for, of the hooks that will fire.
///
/// # Errors
/// A layer to stop at that the model does not have.
pub fn cache_plan<'a, M: HookedModel + ?Sized>(
    model: &M,
    plan: Plan<'a>,
    options: &CacheOptions<'_>,
) -> Result<Plan<'a>> {
    let mut plan = plan.pos_slice(options.pos_slice.clone()).logits(options.logits);
    if let Some(layer) = options.stop_at_layer {
        plan = plan.stop_at_layer(layer);
    }
    let stop = plan.stop_layer(model.spec().n_layers)?;
    let fires = |at: HookName| match (stop, at.layer()) {
        (None, _) => true,
        (Some(stop), Some(layer)) => layer < stop,
        (Some(_), None) => matches!(at.base(), HookName::EMBED | HookName::POS_EMBED),
    };
    let names: Vec<HookName> = model
        .places_with(&plan)
        .into_iter()
        .filter(|at| fires(*at) && options.names.admits(*at))
        .collect();
    Ok(plan.capture_all(names))
}

fn finish(run: Run, remove_batch_dim: bool) -> Result<(Run, ActivationCache)> {
    let cache = ActivationCache::new(run.captured().to_vec());
    let cache = if remove_batch_dim { cache.remove_batch_dim()? } else { cache };
    Ok((run, cache))
}
