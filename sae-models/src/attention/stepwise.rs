//! Attention step by step: scores, mask, pattern, z, each with its hook and its gradient.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{Cursor, HookName, Site};
use sae_core::ops::softmax;

use crate::mask::Visible;

/// As [`super::attend`], passing `hook_attn_scores` and `hook_pattern`.
pub(crate) fn attend_stepwise(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    scale: f64,
    visible: &Visible,
    layer: u16,
    hooks: &mut Cursor<'_, '_>,
) -> Result<Tensor> {
    let heads_first = |x: &Tensor| x.transpose(1, 2)?.contiguous();
    let q = heads_first(q)?;
    let group = q.dim(1)? / k.dim(2)?.max(1);
    let (k, v) = (repeat_heads(&heads_first(k)?, group)?, repeat_heads(&heads_first(v)?, group)?);
    let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / scale)?;
    let scores = hooks.at(HookName::block(layer, Site::AttnScores), visible.apply(&scores)?)?;
    let pattern = hooks.at(HookName::block(layer, Site::Pattern), softmax(&scores)?)?;
    Ok(pattern.contiguous()?.matmul(&v)?.transpose(1, 2)?.contiguous()?)
}

/// Each key/value head for the `group` heads that share it: `[batch, kv_head, key, d_head]` ->
/// `[batch, head, key, d_head]`.
fn repeat_heads(x: &Tensor, group: usize) -> Result<Tensor> {
    if group == 1 {
        return Ok(x.clone());
    }
    let (batch, heads, keys, d_head) = x.dims4()?;
    let x = x.unsqueeze(2)?.expand((batch, heads, group, keys, d_head))?;
    Ok(x.reshape((batch, heads * group, keys, d_head))?)
}
