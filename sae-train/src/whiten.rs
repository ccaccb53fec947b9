//! Whitening estimated from activations (`covariance_whitening`).

use candle_core::{Device, Tensor};
use faer::{Mat, Side};
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
    products: Option<Tensor>,
    /// The first row: close to the mean next to the spread, so that nothing cancels.
    origin: Option<Vec<f64>>,
}

impl WhiteningEstimate {
    /// For rows of this width.
    pub fn new(width: usize) -> Self {
        Self { width, rows: 0, sum: vec![0.0; width], products: None, origin: None }
    }

    /// Take note of a batch, `[rows, width]`.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn add(&mut self, batch: &[f32]) -> Result<()> {
        let Some(first) = batch.get(..self.width.max(1)) else { return Ok(()) };
        let first = || first.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let origin = self.origin.get_or_insert_with(first);
        let mut shifted = Vec::with_capacity(batch.len());
        for row in batch.chunks_exact(self.width) {
            shifted.extend(row.iter().zip(&*origin).map(|(x, o)| f64::from(*x) - o));
        }
        for row in shifted.chunks_exact(self.width) {
            self.sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        let rows = shifted.len() / self.width;
        let x = Tensor::from_vec(shifted, (rows, self.width), &Device::Cpu)?;
        let here = x.t()?.matmul(&x)?;
        self.products = Some(match self.products.take() {
            Some(products) => (products + here)?,
            None => here,
        });
        self.rows += rows;
        Ok(())
    }

    /// The map, with `eps` added to the eigenvalues; `None` below two rows.
    ///
    /// # Errors
    /// The covariance is not finite.
    #[allow(clippy::cast_precision_loss)]
    pub fn whitening(&self, eps: f64) -> Result<Option<Whitening>> {
        let (Some(origin), Some(products), true) = (&self.origin, &self.products, self.rows > 1)
        else {
            return Ok(None);
        };
        let products = products.to_vec2::<f64>()?;
        let n = self.rows as f64;
        let shift: Vec<f64> = self.sum.iter().map(|sum| sum / n).collect();
        let covariance = Mat::from_fn(self.width, self.width, |i, j| {
            (products[i][j] - n * shift[i] * shift[j]) / (n - 1.0)
        });
        let eigen = covariance.self_adjoint_eigen(Side::Lower).map_err(|_| Error::Covariance)?;
        let values: Vec<f64> =
            eigen.S().column_vector().iter().map(|value| value.max(0.0) + eps).collect();
        let matrix = |i: usize, j: usize| eigen.U()[(i, j)] / values[j].sqrt();
        let inverse = |i: usize, j: usize| eigen.U()[(j, i)] * values[i].sqrt();
        let mean: Vec<f64> = origin.iter().zip(&shift).map(|(a, b)| a + b).collect();
        let mean = Tensor::new(mean.as_slice(), &Device::Cpu)?;
        let (matrix, inverse) = (square(self.width, matrix)?, square(self.width, inverse)?);
        Ok(Some(Whitening::new(&mean, &matrix, &inverse)?))
    }
}

fn square(width: usize, at: impl Fn(usize, usize) -> f64) -> Result<Tensor> {
    let (at, width) = (&at, width);
    let values = (0..width).flat_map(|i| (0..width).map(move |j| at(i, j)));
    Ok(Tensor::from_vec(values.collect::<Vec<f64>>(), (width, width), &Device::Cpu)?)
}
