//! How weights begin.

use rand::distr::{Distribution, Uniform};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::config::{BiasInit, Init};
use crate::orthogonal;
use crate::params::{Params, row_norms};

/// Weights are drawn from this stream of the seed.
const STREAM: u64 = 1;
/// Nearer than this, a point counts as at the median.
const NEAREST: f64 = 1e-6;
/// The median is found when its objective changes by no more than this share.
const CONVERGED: f64 = 1e-20;
/// Steps towards the geometric median, at most.
pub const MEDIAN_STEPS: usize = 100;

/// Fresh weights: `W_dec` uniform as PyTorch's `kaiming_uniform_` or orthogonal, biases zero; `sample` `[rows, d_in]`
/// is what `b_dec` may begin at.
pub fn init(mut params: Params, init: Init, seed: u64, sample: Option<&[f32]>) -> Params {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM);
    if init.decoder_orthogonal {
        orthogonal::draw(&mut params.w_dec, params.d_in, &mut rng);
    } else {
        draw(&mut params.w_dec, params.d_in, &mut rng);
    }
    if let Some(norm) = init.decoder_norm {
        scale_rows(&mut params, norm);
    }
    if !params.has_encoder() {
        // It is the transpose, now and later.
    } else if init.encoder_as_decoder_transpose {
        params.w_enc.copy_from_slice(&params.w_dec);
    } else {
        draw(&mut params.w_enc, params.d_sae, &mut rng);
    }
    let width = params.d_in;
    match (init.b_dec, sample) {
        (BiasInit::Mean, Some(sample)) => params.b_dec = narrow(&mean(sample, width)),
        (BiasInit::GeometricMedian, Some(sample)) => {
            params.b_dec = narrow(&geometric_median(sample, width, MEDIAN_STEPS));
        }
        _ => {}
    }
    params
}

/// Uniform within `sqrt(6 / fan_in)`.
#[allow(clippy::cast_precision_loss)]
fn draw(values: &mut [f32], fan_in: usize, rng: &mut ChaCha8Rng) {
    let bound = (6.0 / fan_in.max(1) as f32).sqrt();
    if let Ok(uniform) = Uniform::new(-bound, bound) {
        values.iter_mut().for_each(|v| *v = uniform.sample(rng));
    }
}

/// Scale every row of `W_dec` to `norm`; rows of zeros stay.
#[allow(clippy::cast_possible_truncation)] // rounding is meant
pub fn scale_rows(params: &mut Params, norm: f64) {
    let norms = row_norms(&params.w_dec, params.d_in);
    for (row, old) in params.w_dec.chunks_exact_mut(params.d_in.max(1)).zip(norms) {
        if old > 0.0 {
            row.iter_mut().for_each(|w| *w = *w / old * norm as f32);
        }
    }
}

/// Mean of the rows of `points` `[rows, width]`.
#[allow(clippy::cast_precision_loss)]
pub fn mean(points: &[f32], width: usize) -> Vec<f64> {
    let rows = points.len() / width.max(1);
    let mut mean = vec![0f64; width];
    for row in points.chunks_exact(width.max(1)) {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x) / rows as f64);
    }
    mean
}

/// The point with the least sum of distances to the rows of `points` `[rows, width]`: Weiszfeld's
/// algorithm from the mean, at most `steps` steps.
pub fn geometric_median(points: &[f32], width: usize, steps: usize) -> Vec<f64> {
    let mut median = mean(points, width);
    let mut objective = distances(points, &median).iter().sum::<f64>();
    for _ in 0..steps {
        let weights: Vec<f64> =
            distances(points, &median).into_iter().map(|d| 1.0 / d.max(NEAREST)).collect();
        let total: f64 = weights.iter().sum();
        let mut next = vec![0f64; width];
        for (row, weight) in points.chunks_exact(width.max(1)).zip(&weights) {
            next.iter_mut().zip(row).for_each(|(m, x)| *m += weight / total * f64::from(*x));
        }
        median = next;
        let now = distances(points, &median).iter().sum::<f64>();
        if (objective - now).abs() <= CONVERGED * now {
            break;
        }
        objective = now;
    }
    median
}

/// Distance of every row of `points` to `to`.
pub fn distances(points: &[f32], to: &[f64]) -> Vec<f64> {
    let distance = |row: &[f32]| {
        row.iter().zip(to).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum::<f64>().sqrt()
    };
    points.chunks_exact(to.len().max(1)).map(distance).collect()
}

#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlier_moves_the_mean_but_not_the_median() {
        let points = [0.0, 1.0, -1.0, 0.5, -0.5, 1000.0];
        assert!(geometric_median(&points, 1, 1000)[0].abs() < 1.0);
        assert!(mean(&points, 1)[0] > 100.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_weights() {
        let how = Init {
            decoder_orthogonal: false,
            decoder_norm: Some(0.1),
            encoder_as_decoder_transpose: true,
            b_dec: BiasInit::Zeros,
        };
        let fresh = |seed| init(Params::zeros(4, 8, &["b_enc"]), how, seed, None);
        assert_eq!(fresh(1), fresh(1));
        assert_ne!(fresh(1), fresh(2));
        let norms = row_norms(&fresh(1).w_dec, 4);
        assert!(norms.iter().all(|n| (n - 0.1).abs() < 1e-6), "{norms:?}");
    }
}
