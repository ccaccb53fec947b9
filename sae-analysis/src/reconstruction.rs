//! How well activations are reconstructed: SAELens' metrics, accumulated over batches in f64.

use serde::Serialize;

/// Shorter vectors count as of length 1 in ratios, as in SAELens.
const SHORTEST: f64 = 1e-4;
/// Below this, a variance or an error counts as zero.
const NOTHING: f64 = 1e-10;

/// Sums over rows.
#[derive(Clone, Debug, Default)]
pub struct Reconstruction {
    rows: f64,
    batches: f64,
    norm_in: f64,
    norm_out: f64,
    ratio: f64,
    squares_in: f64,
    sum_in: Vec<f64>,
    error: f64,
    cosine: f64,
    legacy: f64,
    bias: f64,
}

/// What came out; means over rows unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReconstructionMetrics {
    /// `||x||`
    pub l2_norm_in: f64,
    /// `||x_hat||`
    pub l2_norm_out: f64,
    /// `||x_hat|| / ||x||`
    pub l2_ratio: f64,
    /// Mean over batches of `E ||x_hat||^2 / E <x, x_hat>`.
    pub relative_reconstruction_bias: f64,
    /// `1 - E ||x - x_hat||^2 / (E ||x||^2 - ||E x||^2)` over everything.
    pub explained_variance: f64,
    /// `1 - ||x - x_hat||^2 / ||x - mean of the batch||^2`
    pub explained_variance_legacy: f64,
    /// `||x - x_hat||^2`
    pub mse: f64,
    /// Cosine of the angle between `x` and `x_hat`.
    pub cossim: f64,
}

impl Reconstruction {
    /// Take note of a batch: `x` and `x_hat` `[rows, width]`.
    #[allow(clippy::cast_precision_loss)]
    pub fn add(&mut self, x: &[f32], x_hat: &[f32], width: usize) {
        let rows = x.len() / width.max(1);
        if rows == 0 {
            return;
        }
        self.sum_in.resize(width, 0.0);
        let mut mean = vec![0f64; width];
        for row in x.chunks_exact(width) {
            mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v));
        }
        self.sum_in.iter_mut().zip(&mean).for_each(|(s, m)| *s += m);
        mean.iter_mut().for_each(|m| *m /= rows as f64);
        let (mut squares_out, mut products) = (0f64, 0f64);
        for (x, y) in x.chunks_exact(width).zip(x_hat.chunks_exact(width)) {
            let (mut xx, mut yy, mut xy, mut error, mut spread) = (0f64, 0f64, 0f64, 0f64, 0f64);
            for ((x, y), m) in x.iter().zip(y).zip(&mean) {
                let (x, y) = (f64::from(*x), f64::from(*y));
                xx += x * x;
                yy += y * y;
                xy += x * y;
                error += (x - y).powi(2);
                spread += (x - m).powi(2);
            }
            let (norm_in, norm_out) = (xx.sqrt(), yy.sqrt());
            self.norm_in += norm_in;
            self.norm_out += norm_out;
            self.ratio += norm_out / if norm_in < SHORTEST { 1.0 } else { norm_in };
            self.squares_in += xx;
            self.error += error;
            self.cosine += xy / (norm_in * norm_out);
            self.legacy += 1.0 - error / spread;
            squares_out += yy;
            products += xy;
        }
        self.bias += squares_out / products;
        self.rows += rows as f64;
        self.batches += 1.0;
    }

    /// The means; NaN before any row.
    pub fn finish(&self) -> ReconstructionMetrics {
        let n = self.rows;
        let mean_squared: f64 = self.sum_in.iter().map(|s| (s / n).powi(2)).sum();
        let variance = self.squares_in / n - mean_squared;
        let mse = self.error / n;
        let explained_variance = match (variance < NOTHING, mse < NOTHING) {
            (true, true) => 1.0,
            (true, false) => 0.0,
            _ => 1.0 - mse / variance,
        };
        ReconstructionMetrics {
            l2_norm_in: self.norm_in / n,
            l2_norm_out: self.norm_out / n,
            l2_ratio: self.ratio / n,
            relative_reconstruction_bias: self.bias / self.batches,
            explained_variance,
            explained_variance_legacy: self.legacy / n,
            mse,
            cossim: self.cosine / n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_perfect() {
        let x = [1.0, 2.0, -3.0, 0.5, 4.0, 1.0];
        let mut sums = Reconstruction::default();
        sums.add(&x, &x, 2);
        let found = sums.finish();
        for one in [found.explained_variance, found.cossim, found.l2_ratio] {
            assert!((one - 1.0).abs() < 1e-12);
        }
        assert!(found.mse.abs() < 1e-12);
    }

    #[test]
    fn nothing_seen_is_not_a_number() {
        assert!(Reconstruction::default().finish().mse.is_nan());
    }
}
