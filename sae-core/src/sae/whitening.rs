//! `Whitening`: an affine map after which activations have mean zero and unit covariance.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// `z = (x - mean) matrix`, and back: `x = z inverse + mean`. All in f64.
#[derive(Clone, Debug)]
pub struct Whitening {
    mean: Tensor,
    matrix: Tensor,
    inverse: Tensor,
}

impl Whitening {
    /// `mean` `[d_in]`, `matrix` and `inverse` `[d_in, d_in]`.
    ///
    /// # Errors
    /// Shapes that do not fit each other.
    pub fn new(mean: &Tensor, matrix: &Tensor, inverse: &Tensor) -> Result<Self> {
        let d_in = mean.elem_count();
        for square in [matrix, inverse] {
            if square.dims() != [d_in, d_in] {
                return Err(Error::InputShape {
                    what: "a whitening matrix",
                    got: square.dims().to_vec(),
                    want: format!("[{d_in}, {d_in}]"),
                });
            }
        }
        let wide = |x: &Tensor| x.to_dtype(DType::F64)?.contiguous();
        Ok(Self { mean: wide(mean)?, matrix: wide(matrix)?, inverse: wide(inverse)? })
    }

    /// `[d_in]`
    pub fn mean(&self) -> &Tensor {
        &self.mean
    }

    /// `[d_in, d_in]`
    pub fn matrix(&self) -> &Tensor {
        &self.matrix
    }

    /// `[d_in, d_in]`
    pub fn inverse(&self) -> &Tensor {
        &self.inverse
    }

    /// `(x - mean) matrix`, `[rows, d_in]`, in the type of `x`.
    ///
    /// # Errors
    /// Another width than `d_in`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&self.mean.to_dtype(x.dtype())?)?;
        Ok(centred.broadcast_matmul(&self.matrix.to_dtype(x.dtype())?)?)
    }

    /// `z inverse + mean`, `[rows, d_in]`, in the type of `z`.
    ///
    /// # Errors
    /// Another width than `d_in`.
    pub fn undo(&self, z: &Tensor) -> Result<Tensor> {
        let x = z.broadcast_matmul(&self.inverse.to_dtype(z.dtype())?)?;
        Ok(x.broadcast_add(&self.mean.to_dtype(z.dtype())?)?)
    }
}
