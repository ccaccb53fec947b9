//! Attention step by step: scores, mask, pattern, z, each with its hook and its gradient.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{Cursor, HookName, Site};
use sae_core::ops::{soft_cap, softmax};

use super::Rules;
use crate::heads::repeat_heads;

/// As [`super::attend`], passing `hook_attn_scores` and `hook_pattern`.
pub(crate) fn attend_stepwise(
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    rules: Rules<'_>,
    layer: u16,
    hooks: &mut Cursor<'_, '_>,
) -> Result<Tensor> {
    let heads_first = |x: &Tensor| x.transpose(1, 2)?.contiguous();
    let q = heads_first(q)?;
    let heads = q.dim(1)?;
    let k = heads_first(&repeat_heads(k, heads)?)?;
    let v = heads_first(&repeat_heads(v, heads)?)?;
    let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / rules.scale)?;
    let scores = match rules.cap {
        Some(cap) => soft_cap(&scores, cap)?,
        None => scores,
    };
    let scores = rules.visible.apply(&scores, rules.window)?;
    let scores = hooks.at(HookName::block(layer, Site::AttnScores), scores)?;
    let pattern = hooks.at(HookName::block(layer, Site::Pattern), softmax(&scores)?)?;
    Ok(pattern.contiguous()?.matmul(&v)?.transpose(1, 2)?.contiguous()?)
}
