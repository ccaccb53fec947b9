//! `Decoder`: the hooked model of every family here.

use candle_core::{D, DType, Tensor};
use sae_core::hook::{Cursor, HookName, Logits, Place, Plan, Run};
use sae_core::model::{Batch, HookedModel, ModelSpec};
use sae_core::ops::{add, normalize, soft_cap};
use sae_core::{Error, Result};

use crate::block::Context;
use crate::config::DecoderConfig;
use crate::flags::Flags;
use crate::kv_cache::KvCache;
use crate::mask::Visible;
use crate::norm::norm;
use crate::places;
use crate::positions::Positions;
use crate::processing::Processing;
use crate::weights::{NormWeights, Weights};

/// What the blocks of one run have in common.
struct Setting<'r> {
    visible: &'r Visible,
    positions: &'r Positions,
    /// What queries and keys read besides the residual stream (Shortformer).
    read: Option<&'r Tensor>,
}

/// A decoder-only transformer with TransformerLens' hooks. Cloning shares the weights.
#[derive(Clone, Debug)]
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    pub(crate) weights: Weights,
    pub(crate) processing: Processing,
    flags: Flags,
}

impl Decoder {
    pub(crate) fn new(config: DecoderConfig, weights: Weights, processing: Processing) -> Self {
        let processing = processing.possible(&config);
        Self { config, weights, processing, flags: Flags::default() }
    }

    /// The same model with these opt-in hooks.
    ///
    /// # Errors
    /// A flag that the model cannot honour.
    pub fn with_flags(mut self, flags: Flags) -> Result<Self> {
        let spec = &self.config.spec;
        let heads = self.config.shown_kv_heads(flags.ungroup_grouped_query_attention);
        if flags.use_attn_in && heads != spec.n_heads {
            return Err(Error::FlagImpossible {
                flag: "use_attn_in",
                why: "grouped-query attention, where keys and values have fewer heads",
            });
        }
        self.flags = flags;
        Ok(self)
    }

    /// The opt-in hooks that fire.
    pub fn flags(&self) -> Flags {
        self.flags
    }

    /// The weight processing that was done.
    pub fn processing(&self) -> Processing {
        self.processing
    }

    /// Run the model on tokens that follow those in `past`; their keys and values are added to it.
    ///
    /// `hook_k` and `hook_v` show the new positions, scores and patterns all keys.
    ///
    /// # Errors
    /// As [`HookedModel::run`]; the context must hold cached and new positions together.
    pub fn run_with_past(&self, batch: &Batch, past: &mut KvCache, plan: &Plan<'_>) -> Result<Run> {
        plan.check(self)?;
        let (prompts, pos) = batch.ids().dims2()?;
        let positions = Positions::new(pos, batch.mask(), &past.counts(prompts))?;
        let visible = past.extend(batch)?;
        among_workers(|| self.run_tokens(batch, &positions, &visible, Some(past), plan))
    }

    fn run_tokens(
        &self,
        batch: &Batch,
        positions: &Positions,
        visible: &Visible,
        past: Option<&mut KvCache>,
        plan: &Plan<'_>,
    ) -> Result<Run> {
        let mut hooks = Cursor::new(plan, Some(batch));
        if past.is_some() {
            hooks = hooks.run_through();
        }
        let embed = hooks.at(HookName::EMBED, self.weights.embed.tokens(batch.ids())?)?;
        if hooks.finished() {
            return Ok(hooks.done(None, None));
        }
        let learned =
            self.weights.embed.positions(batch.ids().dims2()?, batch.mask(), positions)?;
        let learned = match learned {
            Some(learned) => Some(hooks.at(HookName::POS_EMBED, learned)?),
            None => None,
        };
        if hooks.finished() {
            return Ok(hooks.done(None, None));
        }
        let (resid, read) = match learned {
            Some(learned) if self.config.shortformer => (embed, Some(learned)),
            Some(learned) => (add(&embed, &learned)?, None),
            None => (embed, None),
        };
        let setting = Setting { visible, positions, read: read.as_ref() };
        self.blocks(resid, 0, setting, past, plan, hooks)
    }

    fn blocks(
        &self,
        resid: Tensor,
        from: u16,
        Setting { visible, positions, read }: Setting<'_>,
        mut past: Option<&mut KvCache>,
        plan: &Plan<'_>,
        mut hooks: Cursor<'_, '_>,
    ) -> Result<Run> {
        let n_layers = self.config.spec.n_layers;
        let stop = plan.stop_layer(n_layers)?;
        let mut x = resid;
        let rotations = match &self.config.rotary {
            Some(rotary) => rotary.rotations(positions),
            None => Vec::new(),
        };
        for layer in from..stop.unwrap_or(n_layers) {
            let block = &self.weights.blocks[usize::from(layer)];
            let (config, flags) = (&self.config, self.flags);
            let rotation = rotations.get(config.attention[usize::from(layer)].rotation);
            let context =
                Context { config, flags, block, layer, visible, positions: read, rotation };
            match context.forward(x, past.as_deref_mut(), &mut hooks)? {
                Some(out) => x = out,
                None => return Ok(hooks.done(None, None)),
            }
        }
        if stop.is_some() {
            return Ok(hooks.done(None, Some(x)));
        }
        self.head(x, plan, hooks)
    }

    /// Final norm and, if wanted, unembedding.
    fn head(&self, x: Tensor, plan: &Plan<'_>, mut hooks: Cursor<'_, '_>) -> Result<Run> {
        let at = (HookName::FINAL_SCALE, HookName::FINAL_NORMALIZED);
        let unembed = [HookName::new(Place::UnembedIn), HookName::new(Place::UnembedOut)];
        // The last position is all that is needed, unless a hook wants to see the others.
        let x = match plan.wanted_logits() {
            Logits::Last if !hooks.wants_any([at.0, at.1, unembed[0], unembed[1]]) => {
                x.narrow(1, x.dim(1)? - 1, 1)?
            }
            _ => x,
        };
        let eps = self.config.norm_eps;
        let x = norm(&x, (self.config.final_norm, eps), &NormWeights::Folded, at, &mut hooks)?;
        if hooks.finished() {
            return Ok(hooks.done(None, None));
        }
        let x = hooks.at(unembed[0], self.weights.unembed.read(&x)?)?;
        if plan.wanted_logits() == Logits::Skip && !hooks.wants(unembed[1]) {
            return Ok(hooks.done(None, None));
        }
        let logits = hooks.at(unembed[1], self.weights.unembed.logits(&x)?)?;
        let logits = self.capped(logits)?;
        let logits = match plan.wanted_logits() {
            Logits::Last => Some(logits.narrow(1, logits.dim(1)? - 1, 1)?),
            Logits::All => Some(logits),
            Logits::Skip => None,
        };
        Ok(hooks.done(logits, None))
    }
}

impl Decoder {
    fn capped(&self, logits: Tensor) -> Result<Tensor> {
        match self.config.logit_cap {
            Some(cap) => soft_cap(&logits, cap),
            None => Ok(logits),
        }
    }
}

impl HookedModel for Decoder {
    fn spec(&self) -> &ModelSpec {
        &self.config.spec
    }

    fn places(&self) -> Vec<HookName> {
        places::places(&self.config, self.flags)
    }

    fn width_at(&self, at: HookName) -> Result<Option<usize>> {
        places::width_at(&self.config, self.flags, at)
    }

    fn run(&self, batch: &Batch, plan: &Plan<'_>) -> Result<Run> {
        plan.check(self)?;
        let (n, pos) = batch.ids().dims2()?;
        let n_ctx = self.config.spec.n_ctx;
        if pos > n_ctx {
            return Err(Error::PromptTooLong { n_positions: pos, n_ctx });
        }
        let visible = Visible::new(0, batch.mask())?;
        let positions = Positions::new(pos, batch.mask(), &vec![0; n])?;
        among_workers(|| self.run_tokens(batch, &positions, &visible, None, plan))
    }

    fn resume(
        &self,
        resid: &Tensor,
        from_layer: i32,
        mask: Option<&Tensor>,
        plan: &Plan<'_>,
    ) -> Result<Run> {
        plan.check(self)?;
        let spec = &self.config.spec;
        let from = Plan::new().stop_at_layer(from_layer).stop_layer(spec.n_layers)?.unwrap_or(0);
        if resid.rank() != 3 || resid.dim(2)? != spec.d_model {
            return Err(Error::InputShape {
                what: "the residual stream",
                got: resid.dims().to_vec(),
                want: format!("[batch, pos, {}]", spec.d_model),
            });
        }
        let visible = Visible::new(0, mask)?;
        let (prompts, pos, _) = resid.dims3()?;
        let bytes = mask.map(|mask| mask.to_dtype(DType::U8)).transpose()?;
        let positions = Positions::new(pos, bytes.as_ref(), &vec![0; prompts])?;
        let read = match self.config.shortformer {
            true => self.weights.embed.positions((prompts, pos), bytes.as_ref(), &positions)?,
            false => None,
        };
        let setting = Setting { visible: &visible, positions: &positions, read: read.as_ref() };
        among_workers(|| {
            self.blocks(resid.clone(), from, setting, None, plan, Cursor::new(plan, None))
        })
    }

    fn unembed(&self, resid: &Tensor) -> Result<Tensor> {
        let d_model = self.config.spec.d_model;
        if resid.dim(D::Minus1)? != d_model {
            let got = resid.dims().to_vec();
            return Err(Error::WrongWidth { what: "the residual stream", got, want: d_model });
        }
        let x = normalize(resid, self.config.final_norm, self.config.norm_eps, None)?;
        self.capped(self.weights.unembed.logits(&self.weights.unembed.read(&x)?)?)
    }
}

/// Do all of it on a thread of rayon's pool: a model hands out hundreds of small tasks, and each of them would wake
/// a thread outside the pool when it is done.
fn among_workers<R: Send>(run: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| run())
}
