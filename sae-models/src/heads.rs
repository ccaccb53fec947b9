//! Heads: cutting them out of fused projections, and the opt-in paths that treat each apart.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{Cursor, Site};
use sae_core::model::ModelSpec;

use crate::block::Context;
use crate::norm::norm;

/// `[batch, pos, (n_heads + 2 n_kv) d_head]` -> queries, keys, values `[batch, pos, heads, d_head]`.
pub(crate) fn split_heads(qkv: &Tensor, spec: &ModelSpec) -> Result<(Tensor, Tensor, Tensor)> {
    let (batch, pos, width) = qkv.dims3()?;
    // Cut into heads first, while it is contiguous: then each part is a view.
    let qkv = qkv.reshape((batch, pos, width / spec.d_head, spec.d_head))?;
    let part = |from: usize, heads: usize| -> Result<Tensor> { Ok(qkv.narrow(2, from, heads)?) };
    let (h, kv) = (spec.n_heads, spec.n_key_value_heads);
    Ok((part(0, h)?, part(h, kv)?, part(h + kv, kv)?))
}

/// Queries, keys and values `[batch, pos, heads, d_head]` where positions are added to what queries
/// and keys read, not to what values read (Shortformer).
pub(crate) fn apart_from_positions(
    block: &Context<'_>,
    x: &Tensor,
    positions: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let spec = &block.config.spec;
    let values = spec.n_key_value_heads * spec.d_head;
    let map = &block.block.qkv;
    let n = map.d_out()? - values;
    let with_positions = map.narrow(0, n)?.forward(&(x + positions)?)?;
    let without = map.narrow(n, values)?.forward(x)?;
    split_heads(&Tensor::cat(&[with_positions, without], 2)?, spec)
}

/// Queries, keys and values from inputs of their own, passing `hook_attn_in`, `hook_{q,k,v}_input`
/// and the first norm once for each.
pub(crate) fn per_head_inputs(
    block: &Context<'_>,
    resid_pre: &Tensor,
    hooks: &mut Cursor<'_, '_>,
) -> Result<(Tensor, Tensor, Tensor)> {
    let spec = &block.config.spec;
    let (batch, pos, d_model) = resid_pre.dims3()?;
    let copies = |heads: usize| -> Result<Tensor> {
        let shape = (batch, pos, heads, d_model);
        Ok(resid_pre.unsqueeze(2)?.expand(shape)?.contiguous()?)
    };
    let h = spec.n_heads;
    let kv = block.config.shown_kv_heads(block.flags.ungroup_grouped_query_attention);
    let shared = match block.flags.use_attn_in {
        true => Some(hooks.at(block.at(Site::AttnIn), copies(h)?)?),
        false => None,
    };
    let inputs = if block.flags.use_split_qkv_input {
        let q = hooks.at(block.at(Site::QInput), copies(h)?)?;
        let k = hooks.at(block.at(Site::KInput), copies(kv)?)?;
        [q, k, hooks.at(block.at(Site::VInput), copies(kv)?)?]
    } else {
        let shared = shared.map_or_else(|| copies(h), Ok)?;
        [shared.clone(), shared.clone(), shared]
    };
    let at = (block.at(Site::Ln1Scale), block.at(Site::Ln1Normalized));
    let mut parts = Vec::with_capacity(3);
    let stored = spec.n_key_value_heads;
    let columns = [(0, h), (h, stored), (h + stored, stored)];
    for (i, (input, (from, heads))) in inputs.iter().zip(columns).enumerate() {
        let mut x = norm(input, block.norm(), &block.block.ln1, at, hooks)?;
        if let (Some(positions), true) = (block.positions, i < 2) {
            x = x.broadcast_add(&positions.unsqueeze(2)?)?;
        }
        parts.push(project(&x, block, from, heads)?);
    }
    let [q, k, v] = parts.try_into().unwrap_or_else(|_| unreachable!("three inputs, three parts"));
    Ok((q, k, v))
}

/// Each head of `[batch, pos, heads, d_model]` through its own columns of the fused projection, of
/// which `stored` heads begin at head `from`; there may be fewer of them than of inputs.
fn project(x: &Tensor, block: &Context<'_>, from: usize, stored: usize) -> Result<Tensor> {
    let d_head = block.config.spec.d_head;
    let (batch, pos, heads, d_model) = x.dims4()?;
    let map = block.block.qkv.narrow(from * d_head, stored * d_head)?;
    let columns = repeat_heads(&map.weight()?.reshape((1, d_model, stored, d_head))?, heads)?;
    let per_head = columns.squeeze(0)?.transpose(0, 1)?.contiguous()?;
    let rows = x.reshape((batch * pos, heads, d_model))?.transpose(0, 1)?.contiguous()?;
    let out = rows.matmul(&per_head)?.transpose(0, 1)?.contiguous()?;
    let out = out.reshape((batch, pos, heads, d_head))?;
    match map.bias() {
        Some(bias) => {
            let bias = repeat_heads(&bias.reshape((1, 1, stored, d_head))?, heads)?;
            Ok(out.broadcast_add(&bias)?)
        }
        None => Ok(out),
    }
}

/// Each key/value head for all heads that share it, one after another: `[batch, pos, kv_head, d] ->
/// [batch, pos, heads, d]`.
pub(crate) fn repeat_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, pos, kv_heads, d) = x.dims4()?;
    if kv_heads == heads {
        return Ok(x.clone());
    }
    let group = heads / kv_heads.max(1);
    let x = x.unsqueeze(3)?.expand((batch, pos, kv_heads, group, d))?;
    Ok(x.reshape((batch, pos, heads, d))?)
}

/// What each head adds, through `hook_result`, summed with the bias: `[batch, pos, d_model]`.
pub(crate) fn results(
    block: &Context<'_>,
    z: &Tensor,
    hooks: &mut Cursor<'_, '_>,
) -> Result<Tensor> {
    let (batch, pos, heads, d_head) = z.dims4()?;
    let w_o = block.block.attn_out.weight()?;
    let d_model = w_o.dim(1)?;
    let rows = z.reshape((batch * pos, heads, d_head))?.transpose(0, 1)?.contiguous()?;
    let result = rows.matmul(&w_o.reshape((heads, d_head, d_model))?)?.transpose(0, 1)?;
    let result = result.contiguous()?.reshape((batch, pos, heads, d_model))?;
    let out = hooks.at(block.at(Site::Result), result)?.sum(2)?;
    match block.block.attn_out.bias() {
        Some(bias) => Ok(out.broadcast_add(bias)?),
        None => Ok(out),
    }
}
