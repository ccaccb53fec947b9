//! The attention of a block, from the residual stream to what attention makes of it.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{Cursor, Site};
use sae_core::ops::Centre;

use super::Rules;
use super::fused::attend;
use super::stepwise::attend_stepwise;
use crate::block::Context;
use crate::heads::{apart_from_positions, per_head_inputs, repeat_heads, results, split_heads};
use crate::kv_cache::KvCache;
use crate::norm::norm;
use crate::weights::NormWeights;

impl Context<'_> {
    /// `[batch, pos, d_model] -> [batch, pos, d_model]`, before a post-norm.
    pub(crate) fn attention(
        &self,
        resid_pre: &Tensor,
        past: Option<&mut KvCache>,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<Tensor> {
        let (q, k, v) = self.queries_keys_values(resid_pre, hooks)?;
        let (q, k) = self.normed_heads(q, k, hooks)?;
        let (q, k, v) = self.rotated(&q, k, v, past, hooks)?;
        let layer = self.attention_config();
        let rules = Rules {
            scale: layer.scale,
            cap: self.config.score_cap,
            window: layer.window,
            visible: self.visible,
        };
        let tracked = q.track_op() || k.track_op() || v.track_op();
        let inside = [self.at(Site::AttnScores), self.at(Site::Pattern)];
        let z = if tracked || hooks.wants_any(inside) {
            attend_stepwise((&q, &k, &v), rules, self.layer, hooks)?
        } else {
            attend(&q, &k, &v, rules)?
        };
        let z = hooks.at(self.at(Site::Z), z)?;
        let out = if self.flags.use_attn_result {
            results(self, &z, hooks)?
        } else {
            self.block.attn_out.forward(&z.flatten_from(2)?)?
        };
        hooks.at(self.at(Site::AttnHookOut), out)
    }

    fn queries_keys_values(
        &self,
        resid_pre: &Tensor,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let (q, k, v) = if self.flags.per_head_inputs() {
            per_head_inputs(self, resid_pre, hooks)?
        } else {
            let at = (self.at(Site::Ln1Scale), self.at(Site::Ln1Normalized));
            let x = norm(resid_pre, self.norm(), &self.block.ln1, at, hooks)?;
            let x = hooks.at(self.at(Site::AttnHookIn), x)?;
            let (q, k, v) = match self.positions {
                Some(positions) => apart_from_positions(self, &x, positions)?,
                None => split_heads(&self.block.qkv.forward(&x)?, &self.config.spec)?,
            };
            match self.flags.ungroup_grouped_query_attention {
                true => (q.clone(), repeat_heads(&k, q.dim(2)?)?, repeat_heads(&v, q.dim(2)?)?),
                false => (q, k, v),
            }
        };
        let q = hooks.at(self.at(Site::Q), q)?;
        let k = hooks.at(self.at(Site::K), k)?;
        let v = hooks.at(self.at(Site::V), v)?;
        Ok((q, k, v))
    }

    /// Queries and keys normalised head by head, in models that do so.
    fn normed_heads(
        &self,
        q: Tensor,
        k: Tensor,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<(Tensor, Tensor)> {
        let Some(norms) = &self.block.qk_norms else { return Ok((q, k)) };
        let mut each = |x: &Tensor, weights: &NormWeights, scale: Site, normalized: Site| {
            let shape = x.dims4()?;
            let rows = x.contiguous()?.flatten(0, 2)?;
            let at = (self.at(scale), self.at(normalized));
            let rows = norm(&rows, (Centre::Zero, self.config.norm_eps), weights, at, hooks)?;
            Ok::<_, sae_core::Error>(rows.reshape(shape)?)
        };
        let q = each(&q, &norms.q, Site::QNormScale, Site::QNormNormalized)?;
        let k = each(&k, &norms.k, Site::KNormScale, Site::KNormNormalized)?;
        Ok((q, k))
    }

    /// Queries and keys rotated, and keys and values of cached positions put before the new ones.
    ///
    /// The cache holds rotated keys as they are before `hook_rot_k`, so that what a plan does there
    /// lasts for one run, as in TransformerLens, which rotates all keys anew.
    fn rotated(
        &self,
        q: &Tensor,
        k: Tensor,
        v: Tensor,
        past: Option<&mut KvCache>,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let (q, k) = match self.rotation {
            Some(rotation) => {
                let turned = rotation.apply(q)?;
                (hooks.at(self.at(Site::RotQ), turned)?, rotation.apply(&k)?)
            }
            None => (q.clone(), k),
        };
        let (k, v) = match past {
            Some(cache) => cache.append(self.layer, &k, &v)?,
            None => (k, v),
        };
        let k = match self.rotation {
            Some(_) => hooks.at(self.at(Site::RotK), k)?,
            None => k,
        };
        Ok((q, k, v))
    }
}
