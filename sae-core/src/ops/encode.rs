//! Encoding straight into sparse codes, and decoding by gathering decoder rows.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::cpu::{F32s, require_width};
use super::gemm::{Mat, Tile, gemm_visit};
use super::latent::top_k_row;
use super::vector;
use crate::sae::Codes;
use crate::{Error, Result};

/// Pre-activations that are looked at together: if none passes, none is looked at alone.
const GLANCE: usize = 16;

/// Codes of the rows of `x` whose pre-activation `x W + b` exceeds its latent's threshold (0 when
/// `threshold` is `None`) and 0: `x` `[rows, d_in]`, `w` `[d_in, d_sae]`, `b` and `threshold`
/// `[d_sae]`. The dense pre-activations are never held as a whole.
///
/// # Errors
/// Not f32 on the CPU, or shapes that do not fit.
pub fn encode_above(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    threshold: Option<&Tensor>,
) -> Result<Codes> {
    let bias = per_latent(w, b)?;
    let least: Vec<f32> = match threshold {
        Some(t) => per_latent(w, t)?.into_iter().map(|t| t.max(0.0)).collect(),
        None => vec![0.0; bias.len()],
    };
    encode(x, w, |col, values, kept| {
        let n = values.len();
        let (bias, least) = (&bias[col..col + n], &least[col..col + n]);
        values.iter_mut().zip(bias).for_each(|(h, b)| *h += b);
        for from in (0..n).step_by(GLANCE) {
            let to = (from + GLANCE).min(n);
            let (h, t) = (&values[from..to], &least[from..to]);
            if h.iter().zip(t).fold(false, |any, (h, t)| any | above(*h, *t)) {
                let on = (from..).zip(h.iter().zip(t)).filter(|(_, (h, t))| above(**h, **t));
                kept.extend(on.map(|(j, (h, _))| (index(col + j), *h)));
            }
        }
    })
}

/// Codes of a gated encoder: with `s = x W`, latents with `s + b_gate > 0` get
/// `ReLU(s * factor + b_mag)`; all `[d_sae]`, other axes as in [`encode_above`].
///
/// # Errors
/// As [`encode_above`].
pub fn encode_gated(
    x: &Tensor,
    w: &Tensor,
    b_gate: &Tensor,
    factor: &Tensor,
    b_mag: &Tensor,
) -> Result<Codes> {
    let (gate, factor) = (per_latent(w, b_gate)?, per_latent(w, factor)?);
    let bias = per_latent(w, b_mag)?;
    encode(x, w, |col, values, kept| {
        for (j, s) in (col..).zip(values.iter()) {
            if above(*s + gate[j], 0.0) {
                let m = *s * factor[j] + bias[j];
                if above(m, 0.0) {
                    kept.push((index(j), m));
                }
            }
        }
    })
}

/// Codes of the `k` largest pre-activations `(x W + b) * scale` of each row, less those that are
/// not positive; axes as in [`encode_above`], `scale` `[d_sae]`.
///
/// # Errors
/// As [`encode_above`].
pub fn encode_top_k(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    scale: Option<&Tensor>,
    k: usize,
) -> Result<Codes> {
    let bias = per_latent(w, b)?;
    let scale = scale.map(|s| per_latent(w, s)).transpose()?;
    // Each tile offers its own k best; the k best of all are among them.
    let codes = encode(x, w, |col, values, kept| {
        values.iter_mut().zip(&bias[col..]).for_each(|(h, b)| *h += b);
        if let Some(scale) = &scale {
            values.iter_mut().zip(&scale[col..]).for_each(|(h, s)| *h *= s);
        }
        let best = top_k_row(values, k).into_iter().filter(|(_, h)| above(*h, 0.0));
        kept.extend(best.map(|(j, h)| (index(col) + j, h)));
    })?;
    Ok(codes.keep_top_k(k))
}

/// The values of a tensor that has one per column of `w`.
fn per_latent(w: &Tensor, values: &Tensor) -> Result<Vec<f32>> {
    require_width("a tensor per latent", values, w.dims2()?.1)?;
    Ok(values.to_vec1()?)
}

/// Whether a latent is on; NaN is, so that it is seen.
#[inline(always)]
fn above(h: f32, least: f32) -> bool {
    h > least || h.is_nan()
}

#[allow(clippy::cast_possible_truncation)] // no SAE has u32::MAX latents
fn index(i: usize) -> u32 {
    i as u32
}

/// Entries of one tile: how many each row has, and the entries row by row.
struct Found {
    row: usize,
    counts: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

/// `select(col, products, kept)` chooses from one row of one tile, whose first latent is `col`.
fn encode(
    x: &Tensor,
    w: &Tensor,
    select: impl Fn(usize, &mut [f32], &mut Vec<(u32, f32)>) + Sync,
) -> Result<Codes> {
    let (rows, d_in) = x.dims2()?;
    let (w_in, d_sae) = w.dims2()?;
    if w_in != d_in {
        let got = x.dims().to_vec();
        return Err(Error::WrongWidth { what: "the input of an encoder", got, want: w_in });
    }
    let x = x.contiguous()?;
    let (x, w) = (F32s::new(&x)?, F32s::new(w)?);
    let (Some(lhs), Some(rhs)) = (
        Mat::new(x.values(), (rows, d_in), (d_in, 1)),
        Mat::new(w.values(), (d_in, d_sae), (w.strides()[0], w.strides()[1])),
    ) else {
        return Err(Error::LayoutOutside);
    };
    let found = gemm_visit(lhs, rhs, |tile: Tile<'_>| {
        let mut found =
            Found { row: tile.row, counts: Vec::with_capacity(tile.rows), entries: Vec::new() };
        for products in tile.values.chunks_exact_mut(tile.cols) {
            let before = found.entries.len();
            select(tile.col, products, &mut found.entries);
            found.counts.push(found.entries.len() - before);
        }
        found
    });
    Ok(assemble(rows, d_sae, &found))
}

/// Join tiles, which come row block by row block and left to right, into codes.
fn assemble(rows: usize, d_sae: usize, found: &[Found]) -> Codes {
    let mut counts = vec![0usize; rows];
    for tile in found {
        for (r, n) in tile.counts.iter().enumerate() {
            counts[tile.row + r] += n;
        }
    }
    let mut offsets = Vec::with_capacity(rows + 1);
    offsets.push(0);
    for n in &counts {
        offsets.push(offsets[offsets.len() - 1] + n);
    }
    let total = offsets[rows];
    let (mut indices, mut values) = (vec![0u32; total], vec![0f32; total]);
    let mut next = offsets.clone();
    for tile in found {
        let mut entries = tile.entries.iter();
        for (r, n) in tile.counts.iter().enumerate() {
            let slot = &mut next[tile.row + r];
            for (index, value) in entries.by_ref().take(*n) {
                indices[*slot] = *index;
                values[*slot] = *value;
                *slot += 1;
            }
        }
    }
    Codes::from_sorted(d_sae, offsets, indices, values)
}

/// `codes W + b`, gathering only the rows of `W` that a code names: `w` `[d_sae, d_out]`, `b`
/// `[d_out]` -> `[rows, d_out]`.
///
/// # Errors
/// Not f32 on the CPU, or shapes that do not fit.
pub fn decode_rows(codes: &Codes, w: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (d_sae, d_out) = w.dims2()?;
    if d_sae != codes.d_sae() || b.dims() != [d_out] {
        return Err(Error::WrongWidth {
            what: "the codes of a decoder",
            got: vec![codes.rows(), codes.d_sae()],
            want: d_sae,
        });
    }
    let (w, b) = (w.contiguous()?, b.contiguous()?);
    let (w, b) = (F32s::new(&w)?, F32s::new(&b)?);
    let (weights, bias) = (w.contiguous()?, b.contiguous()?);
    let mut out = vec![0f32; codes.rows() * d_out];
    if d_out > 0 {
        out.par_chunks_mut(d_out).enumerate().for_each(|(row, y)| {
            let (indices, values) = codes.row(row);
            y.copy_from_slice(bias);
            vector::accumulate(y, values, |i| &weights[indices[i] as usize * d_out..][..d_out]);
        });
    }
    Ok(Tensor::from_vec(out, (codes.rows(), d_out), &Device::Cpu)?)
}
