//! Attention in one pass over blocks of queries; scores live in cache only.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sae_core::ops::gemm::{Mat, gemm};
use sae_core::ops::{F32s, softmax_row};
use sae_core::{Error, Result};

use crate::mask::Visible;

/// Queries that one task works on.
const BLOCK: usize = 64;

/// `softmax(q k^T / scale) v`: q `[batch, query, head, d_head]`, k and v `[batch, key, kv_head,
/// d_head]`, each of any strides with the last axis contiguous -> `[batch, query, head, d_head]`.
pub(crate) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    scale: f64,
    visible: &Visible,
) -> Result<Tensor> {
    let (batch, n_queries, n_heads, d_head) = q.dims4()?;
    let (_, n_keys, n_kv_heads, _) = k.dims4()?;
    let (q, k, v) = (Heads::new(q)?, Heads::new(k)?, Heads::new(v)?);
    let group = n_heads / n_kv_heads.max(1);
    let width = n_heads * d_head;
    #[allow(clippy::cast_possible_truncation)]
    let factor = (1.0 / scale) as f32;
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
        let keys = (first + queries + visible.n_past).min(n_keys);
        scores.resize(queries * keys, 0.0);
        for head in 0..n_heads {
            let kv = head / group;
            let lhs = q.rows(b, head, (first, queries), d_head)?;
            let rhs = k.columns(b, kv, keys, d_head)?;
            gemm(scores, keys, lhs, rhs, factor);
            for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
                let seen = (first + i + visible.n_past + 1).min(keys);
                let (row, rest) = row.split_at_mut(seen);
                if visible.keys.is_some() {
                    for (key, score) in row.iter_mut().enumerate() {
                        if !visible.key(b, key) {
                            *score = f32::NEG_INFINITY;
                        }
                    }
                }
                softmax_row(row);
                rest.fill(0.0);
            }
            let pattern = Mat::new(scores, (queries, keys), (keys, 1)).ok_or(OUTSIDE)?;
            let values = v.rows(b, kv, (0, keys), d_head)?;
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

    /// The first `n` positions of one head as columns: `[d_head, n]`.
    fn columns(&self, batch: usize, head: usize, n: usize, d_head: usize) -> Result<Mat<'_>> {
        let (data, stride) = self.at(batch, head, 0);
        Mat::new(data, (d_head, n), (1, stride)).ok_or(OUTSIDE)
    }
}
