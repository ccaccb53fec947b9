//! `Linear`: an affine map of a model, whatever form its weights are kept in.

mod fold;
mod matrix;

use candle_core::{DType, Device, Tensor};
use sae_core::ops::{Activation, activate};
use sae_core::{Error, Result};

use fold::Fold;
pub(crate) use fold::centre_last;
pub(crate) use matrix::Matrix;

/// `[.., d_in] -> [.., d_out]`, summed in f32.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    matrix: Matrix,
    bias: Option<Tensor>,
    /// What processing has made of the map without changing its weights.
    fold: Fold,
}

impl Linear {
    /// `bias` is `[d_out]`.
    pub(crate) fn new(weights: impl Into<Matrix>, bias: Option<Tensor>) -> Result<Self> {
        let matrix = weights.into();
        let (_, d_out) = matrix.dims()?;
        if let Some(bias) = bias.as_ref().filter(|bias| bias.dims() != [d_out]) {
            let (got, want) = (bias.dims().to_vec(), format!("[{d_out}]"));
            return Err(Error::InputShape { what: "a bias", got, want });
        }
        Ok(Self { matrix, bias, fold: Fold::default() })
    }

    pub(crate) fn d_out(&self) -> Result<usize> {
        Ok(self.matrix.dims()?.1)
    }

    /// `[d_out]`
    pub(crate) fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// `[d_out]`, zeros where there is none.
    pub(crate) fn bias_or_zero(&self) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => Ok(bias.clone()),
            None => Ok(Tensor::zeros(self.d_out()?, DType::F32, &Device::Cpu)?),
        }
    }

    /// The same weights with another bias.
    pub(crate) fn with_bias(&self, bias: Tensor) -> Self {
        Self { bias: Some(bias), ..self.clone() }
    }

    /// The weights in f32 as processed, `[d_in, d_out]`.
    pub(crate) fn weight(&self) -> Result<Tensor> {
        self.fold.apply(&self.matrix.widened()?)
    }

    /// `x W + b`
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, self.bias.as_ref(), None)
    }

    /// `activation(x W + b)`, in one pass where no gradient flows.
    pub(crate) fn forward_activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.run(x, self.bias.as_ref(), Some(activation))
    }

    /// `x W`
    pub(crate) fn product(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, None, None)
    }

    fn run(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        activation: Option<Activation>,
    ) -> Result<Tensor> {
        if self.fold.is_none() {
            return self.matrix.forward(x, bias, activation);
        }
        // (A bias that is there was centred with what is written.)
        let y = self.fold.write(self.matrix.forward(&self.fold.read(x)?, bias, None)?)?;
        match activation {
            Some(activation) => activate(&y, activation),
            None => Ok(y),
        }
    }

    /// Outputs `from..from + n` alone.
    pub(crate) fn narrow(&self, from: usize, n: usize) -> Result<Self> {
        let bias = self.bias.as_ref().map(|bias| bias.narrow(0, from, n)).transpose()?;
        if self.fold.joins_outputs() {
            return Self::new(self.weight()?.narrow(1, from, n)?, bias);
        }
        Ok(Self { matrix: self.matrix.narrow(from, n)?, bias, fold: self.fold.clone() })
    }

    /// Several maps of one input as one, their outputs side by side.
    pub(crate) fn side_by_side(parts: &[Self]) -> Result<Self> {
        let whole = |part: &Self| match part.fold.is_none() {
            true => Ok(part.matrix.clone()),
            false => part.weight().map(Matrix::Plain),
        };
        let matrices = parts.iter().map(whole).collect::<Result<Vec<_>>>()?;
        let bias = match parts.iter().any(|part| part.bias.is_some()) {
            true => {
                let biases = parts.iter().map(Self::bias_or_zero).collect::<Result<Vec<_>>>()?;
                Some(Tensor::cat(&biases, 0)?)
            }
            false => None,
        };
        Self::new(Matrix::side_by_side(&matrices)?, bias)
    }
}
