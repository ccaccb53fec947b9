//! Encoding straight into sparse codes.

use candle_core::Tensor;
use parking_lot::Mutex;
use rayon::prelude::*;

use super::batch_best::encode_batch_best;
use super::best::Best;
use super::cpu::{F32s, per_latent};
use super::gemm::{Mat, gemm_scan};
use crate::sae::Codes;
use crate::{Error, Result};

/// Pre-activations that are looked at together: if none passes, none is looked at alone.
const GLANCE: usize = 16;

/// Codes of the pre-activations `x W + b` that exceed their latent's threshold (0 when `threshold` is
/// `None`): `x` `[rows, d_in]`, `w` `[d_in, d_sae]`, `b` and `threshold` `[d_sae]`. The dense
/// pre-activations are never held as a whole.
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
        Some(t) => per_latent(w, t)?,
        None => vec![0.0; bias.len()],
    };
    let select = |col: usize, values: &mut [f32], kept: &mut Vec<(u32, f32)>| {
        let n = values.len();
        let (bias, least) = (&bias[col..col + n], &least[col..col + n]);
        values.iter_mut().zip(bias).for_each(|(h, b)| *h += b);
        let (groups, rest) = values.as_chunks::<GLANCE>();
        let (bars, last_bars) = least.as_chunks::<GLANCE>();
        let mut keep = |from: usize, h: &[f32], t: &[f32]| {
            let on = (from..).zip(h.iter().zip(t)).filter(|(_, (h, t))| above(**h, **t));
            kept.extend(on.map(|(j, (h, _))| (index(j), *h)));
        };
        for (i, (h, t)) in groups.iter().zip(bars).enumerate() {
            if h.iter().zip(t).fold(false, |any, (h, t)| any | above(*h, *t)) {
                keep(col + i * GLANCE, h, t);
            }
        }
        keep(col + groups.len() * GLANCE, rest, last_bars);
    };
    with_operands(x, w, |x, w| encode_rows(x, w, select))
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
    let select = |col: usize, values: &mut [f32], kept: &mut Vec<(u32, f32)>| {
        for (j, s) in (col..).zip(values.iter()) {
            if above(*s + gate[j], 0.0) {
                let m = *s * factor[j] + bias[j];
                if above(m, 0.0) {
                    kept.push((index(j), m));
                }
            }
        }
    };
    with_operands(x, w, |x, w| encode_rows(x, w, select))
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
    let prepare = rescaled(w, b, scale)?;
    with_operands(x, w, |x, w| encode_best(x, w, (k, 0.0), prepare))
}

/// Codes of the `k` pre-activations of each row that are largest in magnitude, signs kept; otherwise
/// as [`encode_top_k`].
///
/// # Errors
/// As [`encode_above`].
pub fn encode_top_k_abs(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    scale: Option<&Tensor>,
    k: usize,
) -> Result<Codes> {
    let prepare = rescaled(w, b, scale)?;
    with_operands(x, w, |x, w| encode_best_abs(x, w, k, prepare))
}

/// Codes of the `keep` largest pre-activations `(x W + b) * scale` of all rows together, less those that
/// are not positive; otherwise as [`encode_top_k`].
///
/// # Errors
/// As [`encode_above`].
pub fn encode_batch_top_k(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    scale: Option<&Tensor>,
    keep: usize,
) -> Result<Codes> {
    let prepare = rescaled(w, b, scale)?;
    with_operands(x, w, |x, w| encode_batch_best(x, w, keep, prepare))
}

/// What makes products `(x W + b) * scale`, given their first column.
fn rescaled(
    w: &Tensor,
    b: &Tensor,
    scale: Option<&Tensor>,
) -> Result<impl Fn(usize, &mut [f32]) + Sync + use<>> {
    let bias = per_latent(w, b)?;
    let scale = scale.map(|s| per_latent(w, s)).transpose()?;
    Ok(move |col: usize, values: &mut [f32]| {
        values.iter_mut().zip(&bias[col..]).for_each(|(h, b)| *h += b);
        if let Some(scale) = &scale {
            values.iter_mut().zip(&scale[col..]).for_each(|(h, s)| *h *= s);
        }
    })
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
    counts: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

/// Codes of the entries of `x w` that `select(col, products, kept)` chooses from each segment of a row
/// whose first latent is `col`, in order of latent: `x` `[rows, d_in]`, `w` `[d_in, d_sae]`.
///
/// # Panics
/// The inner dimensions differ: callers check shapes first.
pub fn encode_rows(
    x: Mat<'_>,
    w: Mat<'_>,
    select: impl Fn(usize, &mut [f32], &mut Vec<(u32, f32)>) + Sync,
) -> Codes {
    let found = gemm_scan(
        x,
        w,
        |_| Vec::new(),
        |found: &mut Vec<Found>, tile| {
            let mut here = Found { counts: Vec::with_capacity(tile.rows), entries: Vec::new() };
            tile.each_row(
                #[inline(always)]
                |_, products| {
                    let before = here.entries.len();
                    select(tile.col, products, &mut here.entries);
                    here.counts.push(here.entries.len() - before);
                },
            );
            found.push(here);
        },
    );
    let tiles = found.iter().flat_map(|(row, tiles)| tiles.iter().map(|t| (*row, t)));
    assemble(x.rows, w.cols, &tiles.collect::<Vec<_>>())
}

/// Codes of the `k` largest entries above `floor` of each row of `x w`, after `prepare(col, products)`
/// made them pre-activations; axes as in [`encode_rows`].
///
/// # Panics
/// As [`encode_rows`].
pub fn encode_best(
    x: Mat<'_>,
    w: Mat<'_>,
    (k, floor): (usize, f32),
    prepare: impl Fn(usize, &mut [f32]) + Sync,
) -> Codes {
    best_of_rows::<false>(x, w, (k, floor), prepare)
}

/// Codes of the `k` entries of each row of `x w` that are largest in magnitude and not 0, signs kept;
/// otherwise as [`encode_best`].
///
/// # Panics
/// As [`encode_rows`].
pub fn encode_best_abs(
    x: Mat<'_>,
    w: Mat<'_>,
    k: usize,
    prepare: impl Fn(usize, &mut [f32]) + Sync,
) -> Codes {
    best_of_rows::<true>(x, w, (k, 0.0), prepare)
}

/// The `k` best of each row. All parts into which a row is cut share what was found of it; which comes
/// first makes no difference.
fn best_of_rows<const MAGNITUDE: bool>(
    x: Mat<'_>,
    w: Mat<'_>,
    (k, floor): (usize, f32),
    prepare: impl Fn(usize, &mut [f32]) + Sync,
) -> Codes {
    let best = Best::<MAGNITUDE>::above(floor, k);
    let rows: Vec<Mutex<Best<MAGNITUDE>>> = (0..x.rows).map(|_| Mutex::new(best.clone())).collect();
    gemm_scan(
        x,
        w,
        |_| (),
        |(), tile| {
            tile.each_row(
                #[inline(always)]
                |row, products| {
                    prepare(tile.col, products);
                    rows[tile.row + row].lock().offer(tile.col, products);
                },
            );
        },
    );
    let rows: Vec<_> = rows.into_par_iter().map(|best| best.into_inner().finish()).collect();
    Codes::from_rows(w.cols, &rows)
}

/// `x` `[rows, d_in]` and `w` `[d_in, d_sae]` as matrices for `run`.
fn with_operands(
    x: &Tensor,
    w: &Tensor,
    run: impl FnOnce(Mat<'_>, Mat<'_>) -> Codes,
) -> Result<Codes> {
    let (rows, d_in) = x.dims2()?;
    let (w_in, d_sae) = w.dims2()?;
    if w_in != d_in {
        let got = x.dims().to_vec();
        return Err(Error::WrongWidth { what: "the input of an encoder", got, want: w_in });
    }
    if rows == 0 || d_sae == 0 {
        return Ok(Codes::empty(rows, d_sae));
    }
    let x = x.contiguous()?;
    let (x, w) = (F32s::new(&x)?, F32s::new(w)?);
    let (Some(lhs), Some(rhs)) = (
        Mat::new(x.values(), (rows, d_in), (d_in, 1)),
        Mat::new(w.values(), (d_in, d_sae), (w.strides()[0], w.strides()[1])),
    ) else {
        return Err(Error::LayoutOutside);
    };
    Ok(run(lhs, rhs))
}

/// Join tiles, which come row block by row block and left to right, into codes.
fn assemble(rows: usize, d_sae: usize, found: &[(usize, &Found)]) -> Codes {
    let mut counts = vec![0usize; rows];
    for (row, tile) in found {
        for (r, n) in tile.counts.iter().enumerate() {
            counts[row + r] += n;
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
    for (row, tile) in found {
        let mut entries = tile.entries.iter();
        for (r, n) in tile.counts.iter().enumerate() {
            let slot = &mut next[row + r];
            for (index, value) in entries.by_ref().take(*n) {
                indices[*slot] = *index;
                values[*slot] = *value;
                *slot += 1;
            }
        }
    }
    Codes::from_sorted(d_sae, offsets, indices, values)
}
