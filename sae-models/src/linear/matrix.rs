//! `Matrix`: the weights of a map, in the form in which they stay in memory.

use candle_core::{DType, Tensor};
use sae_core::Result;
use sae_core::ops::{Activation, Packed, linear, linear_activated, linear_packed};

/// Outputs that are summed at once: partial sums stay small beside what is added to them.
const OUTPUTS: usize = 1024;

/// Weights of a map from `d_in` to `d_out` values.
#[derive(Clone, Debug)]
pub(crate) enum Matrix {
    /// `[d_in, d_out]` of any strides, in f32, f16 or bf16.
    Plain(Tensor),
    /// `[d_out, d_in]`, as a quantised file holds it.
    Packed(Packed),
}

impl From<Tensor> for Matrix {
    fn from(weight: Tensor) -> Self {
        Self::Plain(weight)
    }
}

impl Matrix {
    /// `(d_in, d_out)`
    pub(crate) fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Plain(w) => Ok(w.dims2()?),
            Self::Packed(w) => {
                let (d_out, d_in) = w.dims();
                Ok((d_in, d_out))
            }
        }
    }

    fn plain(&self) -> Option<Tensor> {
        match self {
            Self::Plain(w) => Some(w.clone()),
            Self::Packed(_) => None,
        }
    }

    fn packed(&self) -> Option<Packed> {
        match self {
            Self::Plain(_) => None,
            Self::Packed(w) => Some(w.clone()),
        }
    }

    /// The weights if they are in f32.
    pub(crate) fn f32(&self) -> Option<&Tensor> {
        match self {
            Self::Plain(w) if w.dtype() == DType::F32 => Some(w),
            _ => None,
        }
    }

    /// The weights in f32, `[d_in, d_out]`.
    pub(crate) fn widened(&self) -> Result<Tensor> {
        match self {
            Self::Plain(w) => Ok(w.to_dtype(DType::F32)?),
            Self::Packed(w) => Ok(w.widened()?.t()?),
        }
    }

    /// `activation(x W + b)`, `[.., d_in] -> [.., d_out]`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        bias: Option<&Tensor>,
        activation: Option<Activation>,
    ) -> Result<Tensor> {
        match (self, activation) {
            (Self::Plain(w), None) => linear(x, w, bias),
            (Self::Plain(w), Some(activation)) => linear_activated(x, w, bias, activation),
            (Self::Packed(w), activation) => linear_packed(x, w, bias, activation),
        }
    }

    /// Outputs `from..from + n` alone.
    pub(crate) fn narrow(&self, from: usize, n: usize) -> Result<Self> {
        Ok(match self {
            Self::Plain(w) => Self::Plain(w.narrow(1, from, n)?),
            Self::Packed(w) => Self::Packed(w.narrow(from, n)?),
        })
    }

    /// The weights of single outputs in f32, `[outputs, d_in]`.
    pub(crate) fn outputs(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Plain(w) => {
                let ids = Tensor::new(ids, w.device())?;
                Ok(w.t()?.index_select(&ids, 0)?.to_dtype(DType::F32)?)
            }
            Self::Packed(w) => w.lookup(ids),
        }
    }

    /// Several maps of one input as one, their outputs side by side.
    pub(crate) fn side_by_side(parts: &[Self]) -> Result<Self> {
        if let Some(packed) = parts.iter().map(Self::packed).collect::<Option<Vec<_>>>() {
            return Ok(Self::Packed(Packed::stacked(&packed)?));
        }
        let plain = parts.iter().map(Self::plain).collect::<Option<Vec<_>>>();
        // What has no type in common is held in f32.
        let plain = match plain {
            Some(plain) if plain.iter().all(|w| w.dtype() == plain[0].dtype()) => plain,
            _ => parts.iter().map(Self::widened).collect::<Result<_>>()?,
        };
        let rows = plain.iter().map(Tensor::t).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Self::Plain(Tensor::cat(&rows, 0)?.t()?))
    }

    /// The mean of the weights over the outputs, `[1, d_in]`, summed in f32 some outputs at a time. candle reduces
    /// this axis element by element; a product with a row of ones reads each weight once.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn mean_of_outputs(&self) -> Result<Tensor> {
        let (d_in, d_out) = self.dims()?;
        let device = candle_core::Device::Cpu;
        let mut sum = Tensor::zeros((1, d_in), DType::F32, &device)?;
        for first in (0..d_out).step_by(OUTPUTS) {
            let n = OUTPUTS.min(d_out - first);
            let ones = Tensor::ones((1, n), DType::F32, &device)?;
            let part = match self.narrow(first, n)? {
                Self::Plain(w) => linear(&ones, &w.t()?, None)?,
                Self::Packed(w) => w.product_transposed(&ones)?,
            };
            sum = (sum + part)?;
        }
        Ok((sum / d_out.max(1) as f64)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sae_core::ops::{Bits, Format, Packing};

    use super::*;

    /// Three outputs of 64 inputs, packed, and the same plain.
    fn both() -> Result<[Matrix; 2]> {
        let format = Format { bits: Bits::Four, group: 32, offsets: false };
        let mut packing = Packing::new(format, 64)?;
        for row in 0..3u8 {
            let codes: Vec<u8> = (0..64u8).map(|i| (3 * i + row) % 16).collect();
            packing.push(&codes, &[0.5, f32::from(row)], &[])?;
        }
        let packed = Matrix::Packed(packing.finish());
        Ok([Matrix::Plain(packed.widened()?), packed])
    }

    fn equal(a: &Tensor, b: &Tensor) -> Result<bool> {
        Ok(a.dims() == b.dims()
            && a.flatten_all()?.to_vec1::<f32>()? == b.flatten_all()?.to_vec1::<f32>()?)
    }

    #[test]
    fn what_is_asked_of_a_packed_matrix_is_what_it_is_of_a_plain_one() -> Result<()> {
        let [plain, packed] = both()?;
        assert_eq!(plain.dims()?, packed.dims()?);
        assert!(equal(&plain.outputs(&[2, 0])?, &packed.outputs(&[2, 0])?)?);
        assert!(equal(&plain.narrow(1, 2)?.widened()?, &packed.narrow(1, 2)?.widened()?)?);
        let mean = (plain.mean_of_outputs()? - packed.mean_of_outputs()?)?;
        assert!(mean.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
        let want = Matrix::side_by_side(&[plain.clone(), plain.clone()])?.widened()?;
        for parts in [[packed.clone(), packed.clone()], [plain, packed]] {
            assert!(equal(&Matrix::side_by_side(&parts)?.widened()?, &want)?);
        }
        Ok(())
    }

    #[test]
    fn the_mean_is_candles() -> Result<()> {
        let x = Tensor::randn(1f32, 1.0, (33, 3000), &Device::Cpu)?;
        let want = x.mean_keepdim(1)?.t()?;
        let close = |x: Tensor, want: &Tensor| -> Result<bool> {
            let diff = (Matrix::Plain(x).mean_of_outputs()? - want)?;
            Ok(diff.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5)
        };
        assert!(close(x.clone(), &want)? && close(x.t()?.contiguous()?.t()?, &want)?);
        let halves = x.to_dtype(DType::BF16)?;
        assert!(close(halves.clone(), &halves.to_dtype(DType::F32)?.mean_keepdim(1)?.t()?)?);
        Ok(())
    }
}
