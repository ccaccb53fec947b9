//! The mean of a matrix over its first axis.

use candle_core::{DType, Tensor};
use sae_core::Result;
use sae_core::ops::linear;

/// Rows that are summed at once: partial sums stay small beside what is added to them.
const ROWS: usize = 1024;

/// `[n, width] -> [1, width]`, summed in f32 whatever the matrix is kept in. candle reduces this axis
/// element by element; a product with a row of ones reads each row once.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn mean_of_rows(x: &Tensor) -> Result<Tensor> {
    let (n, width) = x.dims2()?;
    let mut sum = Tensor::zeros((1, width), DType::F32, x.device())?;
    for first in (0..n).step_by(ROWS) {
        let rows = x.narrow(0, first, ROWS.min(n - first))?;
        let ones = Tensor::ones((1, rows.dim(0)?), DType::F32, x.device())?;
        sum = (sum + linear(&ones, &rows, None)?)?;
    }
    Ok((sum / n.max(1) as f64)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_mean_is_candles() -> Result<()> {
        let x = Tensor::randn(1f32, 1.0, (3000, 33), &Device::Cpu)?;
        let want = x.mean_keepdim(0)?;
        for x in [x.clone(), x.t()?.contiguous()?.t()?] {
            let diff = (mean_of_rows(&x)? - &want)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(diff < 1e-5, "{diff}");
        }
        let halves = x.to_dtype(DType::BF16)?;
        let want = halves.to_dtype(DType::F32)?.mean_keepdim(0)?;
        let diff = (mean_of_rows(&halves)? - want)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(diff < 1e-5, "{diff}");
        Ok(())
    }
}
