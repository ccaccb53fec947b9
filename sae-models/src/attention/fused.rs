//! Attention in one pass over blocks of queries; scores live in cache only.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sae_core::ops::gemm::{Mat, gemm};
use sae_core::ops::{F32s, soft_cap_slice, softmax_row};
use sae_core::{Error, Result};

use super::Rules;

/// Queries that one task works on.
const BLOCK: usize = 64;

/// `softmax(q k^T / scale) v`, scores capped and masked as the rules say: q `[batch, query, head, d_head]`, k and v `[batch, key, kv_head,
/// d_head]`, each of any strides with the last axis contiguous -> `[batch, query, head, d_head]`.
pub(crate) fn attend(q: &Tensor, k: &Tensor, v: &Tensor, rules: Rules<'_>) -> Result<Tensor> {
    let (batch, n_queries, n_heads, d_head) = q.dims4()?;
    let (_, n_keys, n_kv_heads, _) = k.dims4()?;
    let (q, k, v) = (Heads::new(q)?, Heads::new(k)?, Heads::new(v)?);
    let group = n_heads / n_kv_heads.max(1);
    let width = n_heads * d_head;
    #[allow(clippy::cast_possible_truncation)]
    let (factor, cap) = ((1.0 / rules.scale) as f32, rules.cap.map(|cap| cap as f32));
    let visible = rules.visible;
    let mut out = vec![0f32; batch * n_queries * width];
    // One task per block of queries of one prompt: its part of the output is contiguous.
    let mut tasks = Vec::new();
    for (b, prompt) in out.chunks_exact_mut((n_queries * width).max(1)).enumerate() {
        tasks.extend(
            prompt.chunks_mut(BLOCK * width).enumerate().map(move |(i, z)| (b, i * BLOCK, z)),
        );
    }
    tasks.into_par_iter().try_for_each_init(Vec::new, |scores: &mut Vec<f32>, (b, first, z)| {
        let queries = z.len() / width;
        // Keys that any query of the block sees.
        let from = visible.range(first, rules.window).start;
        let to = visible.range(first + queries - 1, rules.window).end.min(n_keys);
        let keys = to - from;
        scores.resize(queries * keys, 0.0);
        for head in 0..n_heads {
            let kv = head / group;
            let lhs = q.rows(b, head, (first, queries), d_head)?;
            let rhs = k.columns(b, kv, (from, keys), d_head)?;
            gemm(scores, keys, lhs, rhs, factor);
            for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
                let seen = visible.range(first + i, rules.window);
                let (row, rest) = row.split_at_mut(seen.end.min(to) - from);
                let (too_far, row) = row.split_at_mut(seen.start - from);
                if let Some(cap) = cap {
                    soft_cap_slice(row, cap);
                }
                if visible.keys.is_some() {
                    for (key, score) in (seen.start..).zip(row.iter_mut()) {
                        if !visible.key(b, key) {
                            *score = f32::NEG_INFINITY;
                        }
                    }
                }
                softmax_row(row);
                too_far.fill(0.0);
                rest.fill(0.0);
            }
            let pattern = Mat::new(scores, (queries, keys), (keys, 1)).ok_or(OUTSIDE)?;
            let values = v.rows(b, kv, (from, keys), d_head)?;
            gemm(&mut z[head * d_head..], width, pattern, values, 1.0);
        }
        Ok::<(), Error>(())
    })?;
    Ok(Tensor::from_vec(out, (batch, n_queries, n_heads, d_head), &Device::Cpu)?)
}

const OUTSIDE: Error = Error::LayoutOutside;

/// `[batch, pos, head, d_head]` with contiguous heads.
struct Heads<'a> {
    values: F32s<'a>,
}

impl<'a> Heads<'a> {
    fn new(x: &'a Tensor) -> Result<Self> {
        let values = F32s::new(x)?;
        if values.strides()[3] == 1 { Ok(Self { values }) } else { Err(OUTSIDE) }
    }

    fn at(&self, batch: usize, head: usize, first: usize) -> (&[f32], usize) {
        let strides = self.values.strides();
        let offset = batch * strides[0] + first * strides[1] + head * strides[2];
        (self.values.values().get(offset..).unwrap_or_default(), strides[1])
    }

    /// Positions `first..first + n` of one head as rows: `[n, d_head]`.
    fn rows(
        &self,
        batch: usize,
        head: usize,
        (first, n): (usize, usize),
        d_head: usize,
    ) -> Result<Mat<'_>> {
        let (data, stride) = self.at(batch, head, first);
        Mat::new(data, (n, d_head), (stride, 1)).ok_or(OUTSIDE)
    }

    /// Positions `first..first + n` of one head as columns: `[d_head, n]`.
    fn columns(
        &self,
        batch: usize,
        head: usize,
        (first, n): (usize, usize),
        d_head: usize,
    ) -> Result<Mat<'_>> {
        let (data, stride) = self.at(batch, head, first);
        Mat::new(data, (d_head, n), (1, stride)).ok_or(OUTSIDE)
    }
}
