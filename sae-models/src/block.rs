//! One block: attention and MLP, each adding to the residual stream.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{Cursor, HookName, Site};
use sae_core::ops::{Centre, add};

use crate::config::{DecoderConfig, LayerAttention};
use crate::flags::Flags;
use crate::kv_cache::KvCache;
use crate::mask::Visible;
use crate::norm::norm;
use crate::rotary::Rotation;
use crate::weights::{Block, Mlp, NormWeights};

/// What a block needs besides its input.
pub(crate) struct Context<'m> {
    pub(crate) config: &'m DecoderConfig,
    pub(crate) flags: Flags,
    pub(crate) block: &'m Block,
    pub(crate) layer: u16,
    pub(crate) visible: &'m Visible,
    /// What queries and keys read besides the residual stream, `[batch, pos, d_model]` (Shortformer).
    pub(crate) positions: Option<&'m Tensor>,
    /// Rotation of queries and keys, where positions are not learned.
    pub(crate) rotation: Option<&'m Rotation>,
}

impl Context<'_> {
    pub(crate) fn at(&self, site: Site) -> HookName {
        HookName::block(self.layer, site)
    }

    pub(crate) fn attention_config(&self) -> LayerAttention {
        self.config.attention[usize::from(self.layer)]
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
        let at = [self.at(Site::Ln1PostScale), self.at(Site::Ln1PostNormalized)];
        let attn_out = self.post_norm(attn_out, self.block.ln1_post.as_ref(), at, hooks)?;
        let attn_out = hooks.at(self.at(Site::AttnOut), attn_out)?;
        if hooks.finished() {
            return Ok(None);
        }
        let resid_mid = add(&resid_pre, &attn_out)?;
        let Some(mlp) = &self.block.mlp else {
            let resid_post = hooks.at(self.at(Site::ResidPost), resid_mid)?;
            return Ok((!hooks.finished()).then_some(resid_post));
        };
        let (resid_mid, mlp_reads) = if self.config.parallel {
            (resid_mid, resid_pre)
        } else {
            let resid_mid = hooks.at(self.at(Site::ResidMid), resid_mid)?;
            (resid_mid.clone(), resid_mid)
        };
        if hooks.finished() {
            return Ok(None);
        }
        let mlp_out = self.mlp_out(mlp, mlp_reads, hooks)?;
        let resid_post = hooks.at(self.at(Site::ResidPost), add(&resid_mid, &mlp_out)?)?;
        Ok((!hooks.finished()).then_some(resid_post))
    }

    /// What the MLP adds, from the residual stream that it reads.
    fn mlp_out(&self, mlp: &Mlp, resid: Tensor, hooks: &mut Cursor<'_, '_>) -> Result<Tensor> {
        let x = match self.flags.use_hook_mlp_in {
            true => hooks.at(self.at(Site::MlpIn), resid)?,
            false => resid,
        };
        let at = (self.at(Site::Ln2Scale), self.at(Site::Ln2Normalized));
        let x = norm(&x, self.norm(), &self.block.ln2, at, hooks)?;
        let x = hooks.at(self.at(Site::MlpHookIn), x)?;
        let out = self.mlp(mlp, &x, hooks)?;
        let out = hooks.at(self.at(Site::MlpHookOut), out)?;
        let at = [self.at(Site::Ln2PostScale), self.at(Site::Ln2PostNormalized)];
        let out = self.post_norm(out, self.block.ln2_post.as_ref(), at, hooks)?;
        hooks.at(self.at(Site::MlpOut), out)
    }

    fn post_norm(
        &self,
        out: Tensor,
        weights: Option<&NormWeights>,
        [scale, normalized]: [HookName; 2],
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<Tensor> {
        match weights {
            Some(weights) => norm(&out, self.norm(), weights, (scale, normalized), hooks),
            None => Ok(out),
        }
    }

    pub(crate) fn norm(&self) -> (Centre, f64) {
        (self.config.norm, self.config.norm_eps)
    }
}
