//! `ToyModel`: the smallest hooked model, smooth so that finite differences work.

use candle_core::{Device, Tensor};

use crate::hook::{Cursor, HookName, Place, Plan, Run, Site};
use crate::model::{Batch, HookedModel, ModelSpec};
use crate::{Error, Result};

/// Blocks of `x + tanh(x W)`, with the hooks `hook_resid_pre` and `hook_resid_post`.
pub struct ToyModel {
    spec: ModelSpec,
    embed: Tensor,
    blocks: Vec<Tensor>,
}

/// Numbers of variance 1, spread evenly (SplitMix64's mixing of `i`).
#[allow(clippy::cast_precision_loss)]
fn spread(i: u64) -> f32 {
    let mut x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let unit = (x ^ x >> 31) as f32 / u64::MAX as f32;
    (2.0 * unit - 1.0) * 3f32.sqrt()
}

impl ToyModel {
    /// Weights that look random, and are the same each time.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn new(n_layers: u16, d_model: usize) -> Result<Self> {
        const D_VOCAB: usize = 11;
        let mut drawn = 0u64;
        let mut weights = |std: f32, (rows, cols): (usize, usize)| {
            let mut draw = || {
                drawn += 1;
                std * spread(drawn)
            };
            let values: Vec<f32> = (0..rows * cols).map(|_| draw()).collect();
            Tensor::from_vec(values, (rows, cols), &Device::Cpu)
        };
        let blocks =
            (0..n_layers).map(|_| Ok(weights(0.3, (d_model, d_model))?)).collect::<Result<_>>()?;
        let spec = ModelSpec {
            name: "toy".to_owned(),
            n_layers,
            d_model,
            n_heads: 1,
            n_key_value_heads: 1,
            d_head: d_model,
            d_mlp: d_model,
            d_vocab: D_VOCAB,
            n_ctx: 64,
        };
        Ok(Self { spec, embed: weights(1.0, (D_VOCAB, d_model))?, blocks })
    }

    fn forward(
        &self,
        x: Tensor,
        from: usize,
        mut hooks: Cursor<'_, '_>,
        plan: &Plan<'_>,
    ) -> Result<Run> {
        let stop = plan.stop_layer(self.spec.n_layers)?.map_or(usize::MAX, usize::from);
        let mut x = x;
        for (l, w) in self.blocks.iter().enumerate().skip(from) {
            if l >= stop {
                return Ok(hooks.done(None, Some(x)));
            }
            let l = u16::try_from(l).unwrap_or(u16::MAX);
            x = hooks.at(HookName::resid_pre(l), x)?;
            if hooks.finished() {
                return Ok(hooks.done(None, None));
            }
            x = (&x + x.broadcast_matmul(w)?.tanh()?)?;
            x = hooks.at(HookName::resid_post(l), x)?;
            if hooks.finished() {
                return Ok(hooks.done(None, None));
            }
        }
        if stop != usize::MAX {
            return Ok(hooks.done(None, Some(x)));
        }
        let logits = self.unembed(&x)?;
        Ok(hooks.done(Some(logits), None))
    }
}

impl HookedModel for ToyModel {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn places(&self) -> Vec<HookName> {
        (0..self.spec.n_layers)
            .flat_map(|l| [HookName::resid_pre(l), HookName::resid_post(l)])
            .collect()
    }

    fn width_at(&self, at: HookName) -> Result<Option<usize>> {
        let (model, n_layers) = (self.spec.name.clone(), self.spec.n_layers);
        match at.place() {
            Place::Block(l, _) if l >= n_layers => {
                Err(Error::PlaceBeyondLayers { at, model, n_layers })
            }
            Place::Block(_, Site::ResidPre | Site::ResidPost) => Ok(Some(self.spec.d_model)),
            _ => Err(Error::NoSuchPlace { at, model, nearest: None }),
        }
    }

    fn run(&self, batch: &Batch, plan: &Plan<'_>) -> Result<Run> {
        plan.check(self)?;
        let (b, p) = batch.ids().dims2()?;
        let x = self.embed.index_select(&batch.ids().flatten_all()?, 0)?;
        self.forward(x.reshape((b, p, self.spec.d_model))?, 0, Cursor::new(plan, Some(batch)), plan)
    }

    fn resume(
        &self,
        resid: &Tensor,
        from_layer: i32,
        _: Option<&Tensor>,
        plan: &Plan<'_>,
    ) -> Result<Run> {
        plan.check(self)?;
        let n_layers = self.spec.n_layers;
        let from = if from_layer < 0 { from_layer + i32::from(n_layers) } else { from_layer };
        let from = usize::try_from(from)
            .map_err(|_| Error::LayerOutOfRange { layer: from_layer, n_layers })?;
        self.forward(resid.clone(), from, Cursor::new(plan, None), plan)
    }

    fn unembed(&self, resid: &Tensor) -> Result<Tensor> {
        Ok(resid.broadcast_matmul(&self.embed.t()?)?)
    }
}
