//! What is done to activations before a trainer sees them, and its fold into the weights.

use std::borrow::Cow;

use candle_core::{Device, Tensor};
use sae_core::sae::Whitening;

use crate::Result;
use crate::params::Params;

/// What is done to activations before a trainer sees them.
#[derive(Clone, Debug, Default)]
pub enum Scale {
    /// Nothing.
    #[default]
    None,
    /// They are multiplied by a factor that brings their norm to `sqrt(d_in)` on the mean
    /// (`expected_average_only_in`).
    Factor(f64),
    /// Their covariance becomes the unit matrix (`covariance_whitening`).
    Whitening(Box<Whitening>),
}

impl Scale {
    /// The batch `[rows, d_in]` as a trainer sees it.
    ///
    /// # Errors
    /// Another width than that of the whitening.
    #[allow(clippy::cast_possible_truncation)] // rounding is meant
    pub fn apply<'a>(&self, batch: &'a [f32], d_in: usize) -> Result<Cow<'a, [f32]>> {
        match self {
            Self::None => Ok(Cow::Borrowed(batch)),
            Self::Factor(factor) => {
                Ok(batch.iter().map(|x| x * *factor as f32).collect::<Vec<f32>>().into())
            }
            Self::Whitening(whitening) => {
                let rows = batch.len() / d_in.max(1);
                let x = Tensor::from_slice(batch, (rows, d_in), &Device::Cpu)?;
                Ok(whitening.apply(&x)?.flatten_all()?.to_vec1::<f32>()?.into())
            }
        }
    }

    /// The factor, where it is one.
    pub fn factor(&self) -> Option<f64> {
        match self {
            Self::Factor(factor) => Some(*factor),
            _ => None,
        }
    }
}

/// Collects norms.
#[derive(Clone, Copy, Debug, Default)]
pub struct NormEstimate {
    sum: f64,
    rows: u64,
}

impl NormEstimate {
    /// Take note of a batch, `[rows, d_in]`.
    pub fn add(&mut self, batch: &[f32], d_in: usize) {
        let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        self.sum += batch.chunks_exact(d_in.max(1)).map(norm).sum::<f64>();
        self.rows += (batch.len() / d_in.max(1)) as u64;
    }

    /// `sqrt(d_in) / mean norm`; `None` before any row, or if all were zero.
    #[allow(clippy::cast_precision_loss)]
    pub fn factor(&self, d_in: usize) -> Option<f64> {
        let mean = self.sum / self.rows as f64;
        (mean > 0.0).then(|| (d_in as f64).sqrt() / mean)
    }
}

/// Fold `factor` into the weights: afterwards the SAE reads raw activations. Tied directions, which are
/// read and written along, stay.
#[allow(clippy::cast_possible_truncation)] // rounding is meant
pub fn fold(params: &mut Params, factor: f64) {
    let factor = factor as f32;
    if params.has_encoder() {
        params.w_enc.iter_mut().for_each(|w| *w *= factor);
        params.w_dec.iter_mut().for_each(|w| *w /= factor);
    }
    params.b_dec.iter_mut().for_each(|b| *b /= factor);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scaled_norm_is_the_root_of_the_width() {
        let mut estimate = NormEstimate::default();
        estimate.add(&[3.0, 4.0, 0.0, 15.0], 2);
        assert!((estimate.factor(2).unwrap() - 2f64.sqrt() / 10.0).abs() < 1e-12);
        assert_eq!(NormEstimate::default().factor(2), None);
    }
}
