//! Whitening estimated from activations (`covariance_whitening`).

use candle_core::{Device, Tensor};
use faer::{Mat, MatRef, Side};
use sae_core::sae::Whitening;

use crate::{Error, Result};

/// Added to every eigenvalue of the covariance, so that directions without variance stay finite.
pub const EPS: f64 = 1e-3;

/// Collects mean and covariance in f64.
#[derive(Clone, Debug)]
pub struct WhiteningEstimate {
    width: usize,
    rows: usize,
    sum: Vec<f64>,
    /// Sum of the outer products of rows, less a first guess of the mean.
    products: Mat<f64>,
    /// The first row: close to the mean next to the spread, so that nothing cancels.
    origin: Option<Vec<f64>>,
}

impl WhiteningEstimate {
    /// For rows of this width.
    pub fn new(width: usize) -> Self {
        let products = Mat::zeros(width, width);
        Self { width, rows: 0, sum: vec![0.0; width], products, origin: None }
    }

    /// Take note of a batch, `[rows, width]`.
    pub fn add(&mut self, batch: &[f32]) {
        let rows = batch.len() / self.width.max(1);
        let Some(first) = batch.get(..self.width) else { return };
        let first = || first.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let origin = self.origin.get_or_insert_with(first);
        let at = |row: usize, col: usize| f64::from(batch[row * origin.len() + col]) - origin[col];
        let x = Mat::from_fn(rows, self.width, at);
        for (col, sum) in self.sum.iter_mut().enumerate() {
            *sum += x.col(col).iter().sum::<f64>();
        }
        self.products += x.transpose() * &x;
        self.rows += rows;
    }

    /// The map, with `eps` added to the eigenvalues; `None` below two rows.
    ///
    /// # Errors
    /// The covariance is not finite.
    #[allow(clippy::cast_precision_loss)]
    pub fn whitening(&self, eps: f64) -> Result<Option<Whitening>> {
        let Some(origin) = self.origin.as_ref().filter(|_| self.rows > 1) else { return Ok(None) };
        let n = self.rows as f64;
        let shift: Vec<f64> = self.sum.iter().map(|sum| sum / n).collect();
        let covariance = Mat::from_fn(self.width, self.width, |i, j| {
            (self.products[(i, j)] - n * shift[i] * shift[j]) / (n - 1.0)
        });
        let eigen = covariance.self_adjoint_eigen(Side::Lower).map_err(|_| Error::Covariance)?;
        let values: Vec<f64> =
            eigen.S().column_vector().iter().map(|value| value.max(0.0) + eps).collect();
        let matrix = |i: usize, j: usize| eigen.U()[(i, j)] / values[j].sqrt();
        let inverse = |i: usize, j: usize| eigen.U()[(j, i)] * values[i].sqrt();
        let mean: Vec<f64> = origin.iter().zip(&shift).map(|(a, b)| a + b).collect();
        let mean = Tensor::new(mean.as_slice(), &Device::Cpu)?;
        let square = |from: &Mat<f64>| tensor(from.as_ref());
        let matrix = square(&Mat::from_fn(self.width, self.width, matrix))?;
        let inverse = square(&Mat::from_fn(self.width, self.width, inverse))?;
        Ok(Some(Whitening::new(&mean, &matrix, &inverse)?))
    }
}

fn tensor(matrix: MatRef<'_, f64>) -> Result<Tensor> {
    let (rows, cols) = (matrix.nrows(), matrix.ncols());
    let values: Vec<f64> = (0..rows).flat_map(|i| (0..cols).map(move |j| matrix[(i, j)])).collect();
    Ok(Tensor::from_vec(values, (rows, cols), &Device::Cpu)?)
}
