//! One block: attention, then MLP, each adding to the residual stream.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{Cursor, HookName, Site};
use sae_core::ops::activate;

use crate::attention::{attend, attend_stepwise};
use crate::config::DecoderConfig;
use crate::flags::Flags;
use crate::heads::{per_head_inputs, results, split_heads};
use crate::kv_cache::KvCache;
use crate::mask::Visible;
use crate::norm::norm;
use crate::weights::Block;

/// What a block needs besides its input.
pub(crate) struct Context<'m> {
    pub(crate) config: &'m DecoderConfig,
    pub(crate) flags: Flags,
    pub(crate) block: &'m Block,
    pub(crate) layer: u16,
    pub(crate) visible: &'m Visible,
}

impl Context<'_> {
    pub(crate) fn at(&self, site: Site) -> HookName {
        HookName::block(self.layer, site)
    }

    /// `[batch, pos, d_model] -> [batch, pos, d_model]`; `None` once nothing more is wanted.
    pub(crate) fn forward(
        &self,
        resid_pre: Tensor,
        past: Option<&mut KvCache>,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<Option<Tensor>> {
        let resid_pre = hooks.at(self.at(Site::ResidPre), resid_pre)?;
        if hooks.finished() {
            return Ok(None);
        }
        let attn_out = self.attention(&resid_pre, past, hooks)?;
        if hooks.finished() {
            return Ok(None);
        }
        let resid_mid = hooks.at(self.at(Site::ResidMid), (resid_pre + attn_out)?)?;
        if hooks.finished() {
            return Ok(None);
        }
        let mlp_out = self.mlp(&resid_mid, hooks)?;
        let resid_post = hooks.at(self.at(Site::ResidPost), (resid_mid + mlp_out)?)?;
        Ok((!hooks.finished()).then_some(resid_post))
    }

    fn attention(
        &self,
        resid_pre: &Tensor,
        past: Option<&mut KvCache>,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<Tensor> {
        let (q, k, v) = if self.flags.per_head_inputs() {
            per_head_inputs(self, resid_pre, hooks)?
        } else {
            let at = (self.at(Site::Ln1Scale), self.at(Site::Ln1Normalized));
            let x = norm(resid_pre, self.norm(), &self.block.ln1, at, hooks)?;
            let x = hooks.at(self.at(Site::AttnHookIn), x)?;
            split_heads(&self.block.qkv.forward(&x)?, &self.config.spec)?
        };
        let q = hooks.at(self.at(Site::Q), q)?;
        let k = hooks.at(self.at(Site::K), k)?;
        let v = hooks.at(self.at(Site::V), v)?;
        let (k, v) = match past {
            Some(cache) => cache.append(self.layer, &k, &v)?,
            None => (k, v),
        };
        let scale = self.config.attn_scale[usize::from(self.layer)];
        let tracked = q.track_op() || k.track_op() || v.track_op();
        let inside = [self.at(Site::AttnScores), self.at(Site::Pattern)];
        let z = if tracked || hooks.wants_any(inside) {
            attend_stepwise((&q, &k, &v), scale, self.visible, self.layer, hooks)?
        } else {
            attend(&q, &k, &v, scale, self.visible)?
        };
        let z = hooks.at(self.at(Site::Z), z)?;
        let out = if self.flags.use_attn_result {
            results(self, &z, hooks)?
        } else {
            self.block.attn_out.forward(&z.flatten_from(2)?)?
        };
        let out = hooks.at(self.at(Site::AttnHookOut), out)?;
        hooks.at(self.at(Site::AttnOut), out)
    }

    fn mlp(&self, resid_mid: &Tensor, hooks: &mut Cursor<'_, '_>) -> Result<Tensor> {
        let x = if self.flags.use_hook_mlp_in {
            hooks.at(self.at(Site::MlpIn), resid_mid.clone())?
        } else {
            resid_mid.clone()
        };
        let at = (self.at(Site::Ln2Scale), self.at(Site::Ln2Normalized));
        let x = norm(&x, self.norm(), &self.block.ln2, at, hooks)?;
        let x = hooks.at(self.at(Site::MlpHookIn), x)?;
        let activation = self.config.activation;
        let post = if hooks.wants(self.at(Site::MlpPre)) {
            let pre = hooks.at(self.at(Site::MlpPre), self.block.mlp_in.forward(&x)?)?;
            activate(&pre, activation)?
        } else {
            self.block.mlp_in.forward_activated(&x, activation)?
        };
        let post = hooks.at(self.at(Site::MlpPost), post)?;
        let out = hooks.at(self.at(Site::MlpHookOut), self.block.mlp_out.forward(&post)?)?;
        hooks.at(self.at(Site::MlpOut), out)
    }

    pub(crate) fn norm(&self) -> (sae_core::ops::Centre, f64) {
        (self.config.norm, self.config.norm_eps)
    }
}
