//! What a reconstruction leaves over: the squared error and its gradient.

use rayon::prelude::*;
use sae_core::ops::decode_into;
use sae_core::ops::vector::widest;
use sae_core::sae::Codes;

use crate::params::Params;
use crate::rows::Rows;

/// A reconstruction beside its target.
pub(crate) struct Residual {
    /// The reconstruction, normalisation undone, `[n, d_in]`.
    pub(crate) out: Vec<f32>,
    /// Gradient of the loss with respect to `f W_dec + b_dec`, `[n, d_in]`.
    pub(crate) grad: Vec<f32>,
    /// Mean over rows of the weighted squared error.
    pub(crate) loss: f64,
}

/// Weights of the rows' squared errors; all one if there are none.
pub(crate) type RowWeights<'a> = Option<&'a [f32]>;

/// `codes W_dec + b_dec` against the batch: `loss = mean_row weight * sum_d (out - x)^2`.
pub(crate) fn reconstruct(
    codes: &Codes,
    params: &Params,
    rows: &Rows<'_>,
    weights: RowWeights<'_>,
) -> Residual {
    let out = decode(codes, params, &params.b_dec);
    compare(out, rows.raw, |row| rows.back(row), rows.n, weights, 1.0)
}

/// `codes W_dec + bias`, `[n, d_in]`.
pub(crate) fn decode(codes: &Codes, params: &Params, bias: &[f32]) -> Vec<f32> {
    let mut out = vec![0f32; codes.rows() * params.d_in];
    decode_into(&mut out, codes, &params.w_dec, bias);
    out
}

/// `out`, with its normalisation undone by scale and shift of each row, against `target`, both `[n, width]`;
/// the loss multiplied by `factor`.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // rounding is meant
pub(crate) fn compare(
    mut out: Vec<f32>,
    target: &[f32],
    back: impl Fn(usize) -> (f32, f32) + Sync,
    n: usize,
    weights: RowWeights<'_>,
    factor: f64,
) -> Residual {
    let width = target.len() / n.max(1);
    let mut grad = vec![0f32; target.len()];
    let to_mean = factor / n.max(1) as f64;
    let losses: Vec<f64> = out
        .par_chunks_exact_mut(width.max(1))
        .zip(grad.par_chunks_exact_mut(width.max(1)))
        .zip(target.par_chunks_exact(width.max(1)))
        .enumerate()
        .map(|(row, ((y, g), x))| {
            let (scale, shift) = back(row);
            let weight = weights.map_or(1.0, |w| w[row]);
            let slope = 2.0 * to_mean as f32 * weight * scale;
            widest(
                #[inline(always)]
                || {
                    for ((y, g), x) in y.iter_mut().zip(g.iter_mut()).zip(x) {
                        *y = *y * scale + shift;
                        *g = *y - x;
                    }
                },
            );
            let squares = sae_core::ops::vector::sum_squares(g, 0.0);
            g.iter_mut().for_each(|g| *g *= slope);
            f64::from(squares) * f64::from(weight)
        })
        .collect();
    Residual { out, grad, loss: losses.into_iter().sum::<f64>() * to_mean }
}

/// One over each row's distance to the mean of the batch: `[rows]`.
pub(crate) fn dense_batch_weights(batch: &[f32], d_in: usize) -> Vec<f32> {
    let rows = batch.len() / d_in.max(1);
    let mean: Vec<f64> = (0..d_in)
        .map(|i| batch.iter().skip(i).step_by(d_in).map(|x| f64::from(*x)).sum::<f64>())
        .map(|sum| sum / rows.max(1) as f64)
        .collect();
    let distance = |row: &[f32]| -> f64 {
        row.iter().zip(&mean).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum::<f64>().sqrt()
    };
    #[allow(clippy::cast_possible_truncation)] // rounding is meant
    batch.chunks_exact(d_in.max(1)).map(|row| (1.0 / (distance(row) + 1e-6)) as f32).collect()
}
