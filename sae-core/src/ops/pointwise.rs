//! Activation functions of MLPs.

use candle_core::Tensor;
use rayon::prelude::*;
use rten_simd::SimdUnaryOp;
use rten_vecmath::{ApproxGelu, Gelu, Silu};

use super::cpu::{F32s, is_cpu_f32};
use super::vector::widest;
use crate::Result;
use crate::grad::attach;

/// An activation function of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// `0.5 x (1 + erf(x / sqrt(2)))`: `gelu`.
    GeluErf,
    /// `x sigmoid(x)`: `silu`, `swish`.
    Silu,
    /// `max(x, 0)`
    Relu,
}

/// Values that one task works on.
const CHUNK: usize = 1 << 14;

impl Activation {
    /// Apply to values in place.
    pub(crate) fn apply_slice(self, values: &mut [f32]) {
        match self {
            Self::GeluTanh => {
                ApproxGelu {}.map_mut(values);
            }
            Self::GeluErf => {
                Gelu {}.map_mut(values);
            }
            Self::Silu => {
                Silu {}.map_mut(values);
            }
            Self::Relu => widest(
                #[inline(always)]
                || values.iter_mut().for_each(|v| *v = if *v <= 0.0 { 0.0 } else { *v }),
            ),
        }
    }

    /// The derivative, times `g`.
    fn backward(self, x: &Tensor, g: &Tensor) -> Result<Tensor> {
        match self {
            Self::GeluTanh => gelu_tanh_backward(x, g),
            Self::GeluErf => gelu_erf_backward(x, g),
            Self::Silu => {
                // silu'(x) = s (1 + x (1 - s)) with s = sigmoid(x).
                let s = candle_nn::ops::sigmoid(x)?;
                Ok((g * (&s * ((x * (1.0 - &s)?)? + 1.0)?)?)?)
            }
            // gt, not ge: PyTorch's relu has gradient 0 at 0.
            Self::Relu => Ok((g * x.gt(0f32)?.to_dtype(g.dtype())?)?),
        }
    }
}

/// `activation(x)`, shape kept.
///
/// # Errors
/// The tensor operation failed.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let plain = x.detach();
    let value = if is_cpu_f32(x) {
        let plain = plain.contiguous()?;
        let view = F32s::new(&plain)?;
        let mut out = view.contiguous()?.to_vec();
        out.par_chunks_mut(CHUNK).for_each(|chunk| activation.apply_slice(chunk));
        Tensor::from_vec(out, x.shape(), x.device())?
    } else {
        match activation {
            Activation::GeluTanh => plain.gelu()?,
            Activation::GeluErf => plain.gelu_erf()?,
            Activation::Silu => plain.silu()?,
            Activation::Relu => plain.relu()?,
        }
    };
    attach(x, value, move |g| activation.backward(&plain, g))
}

/// `gelu'(x) = s + x s (1 - s) 2u'` with `s = sigmoid(2u)`, since `0.5 (1 + tanh u) = s`.
fn gelu_tanh_backward(x: &Tensor, g: &Tensor) -> Result<Tensor> {
    const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
    const CUBIC: f64 = 0.044_715;
    let x2 = x.sqr()?;
    let u = (x * ((&x2 * CUBIC)? + 1.0)?)?;
    let s = candle_nn::ops::sigmoid(&(u * (2.0 * SQRT_2_OVER_PI))?)?;
    let slope = ((x2 * (3.0 * CUBIC))? + 1.0)?;
    let bend = ((x * &s)? * (1.0 - &s)? * (slope * (2.0 * SQRT_2_OVER_PI))?)?;
    Ok((g * (s + bend)?)?)
}

/// `gelu'(x) = Phi(x) + x phi(x)`, the distribution and density of the standard normal.
fn gelu_erf_backward(x: &Tensor, g: &Tensor) -> Result<Tensor> {
    const INVERSE_SQRT_2: f64 = std::f64::consts::FRAC_1_SQRT_2;
    const INVERSE_SQRT_2_PI: f64 = 0.398_942_280_401_432_7;
    let below = (((x * INVERSE_SQRT_2)?.erf()? + 1.0)? * 0.5)?;
    let density = ((x.sqr()? * -0.5)?.exp()? * INVERSE_SQRT_2_PI)?;
    Ok((g * (below + (x * density)?)?)?)
}
