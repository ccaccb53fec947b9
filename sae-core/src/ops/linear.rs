//! `x W + b`, with the bias (and an activation) applied while each tile is still in cache.

use candle_core::{D, Tensor};

use super::cpu::{F32s, is_cpu_f32, require_width};
use super::gemm::{Mat, gemm_tiled};
use super::half::{self, is_cpu_half};
use super::pointwise::{Activation, activate};
use super::stream::{is_narrow, stream_parallel};
use super::vector;
use crate::grad::attach;
use crate::{Error, Result};

/// `x W + b` with `W` and `b` constant: `x` `[.., d_in]`, `W` `[d_in, d_out]` of any strides in f32,
/// f16 or bf16, `b` `[d_out]`. The gradient with respect to `x` is `g W^T`; none is kept for the weights.
///
/// # Errors
/// Another width than `d_in`, or a bias of another width than `d_out`.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    require_bias(w, b)?;
    let (d_in, _) = w.dims2()?;
    if x.rank() == 0 || x.dim(D::Minus1)? != d_in {
        return Err(Error::WrongWidth {
            what: "the input of a linear map",
            got: x.dims().to_vec(),
            want: d_in,
        });
    }
    let plain = x.detach();
    let value = if is_cpu_f32(x) && has_kernel(w) {
        kernel(&plain, w, b, None)?
    } else {
        let y = plain.broadcast_matmul(&w.to_dtype(plain.dtype())?)?;
        match b {
            Some(b) => y.broadcast_add(b)?,
            None => y,
        }
    };
    if !x.track_op() {
        return Ok(value);
    }
    let transposed = w.t()?;
    attach(x, value, move |g| linear(&g.contiguous()?, &transposed, None))
}

/// `activation(x W + b)`, as [`linear`] and in one pass where no gradient flows.
///
/// # Errors
/// As [`linear`].
pub fn linear_activated(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    activation: Activation,
) -> Result<Tensor> {
    if x.track_op() || !is_cpu_f32(x) || !has_kernel(w) {
        return activate(&linear(x, w, b)?, activation);
    }
    require_bias(w, b)?;
    kernel(x, w, b, Some(activation))
}

fn require_bias(w: &Tensor, b: Option<&Tensor>) -> Result<()> {
    b.map_or(Ok(()), |bias| require_width("a bias", bias, w.dims2()?.1))
}

fn has_kernel(w: &Tensor) -> bool {
    is_cpu_f32(w) || is_cpu_half(w)
}

fn kernel(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let bias = b.map(Tensor::contiguous).transpose()?;
    let bias = bias.as_ref().map(F32s::new).transpose()?;
    let bias = bias.as_ref().map(F32s::contiguous).transpose()?;
    product_with(x, w, |col, segment| {
        if let Some(bias) = bias {
            vector::add(segment, &bias[col..col + segment.len()]);
        }
        if let Some(activation) = activation {
            activation.apply_slice(segment);
        }
    })
}

/// `x W`, `[.., d_in] -> [.., d_out]`, with `finish(col, segment)` made of each piece of a row, whose
/// first column is `col`, while it is in cache.
///
/// # Errors
/// On another device, of other types than f32 and f16 or bf16 weights, or another width than `d_in`.
pub(super) fn product_with(
    x: &Tensor,
    w: &Tensor,
    finish: impl Fn(usize, &mut [f32]) + Sync,
) -> Result<Tensor> {
    let (d_in, d_out) = w.dims2()?;
    let mut shape = x.dims().to_vec();
    if shape.pop() != Some(d_in) {
        let got = x.dims().to_vec();
        return Err(Error::WrongWidth { what: "the input of a linear map", got, want: d_in });
    }
    let rows: usize = shape.iter().product();
    shape.push(d_out);
    let x = x.contiguous()?;
    let x = F32s::new(&x)?;
    let lhs = Mat::new(x.values(), (rows, d_in), (d_in, 1)).ok_or(Error::LayoutOutside)?;
    let mut out = vec![0f32; rows * d_out];
    if is_cpu_half(w) {
        half::product(&mut out, lhs, w, finish)?;
    } else {
        let w = F32s::new(w)?;
        let strides = (w.strides()[0], w.strides()[1]);
        let rhs = Mat::new(w.values(), (d_in, d_out), strides).ok_or(Error::LayoutOutside)?;
        if is_narrow(lhs, rhs) {
            stream_parallel(&mut out, lhs, rhs, &finish);
        } else {
            gemm_tiled(&mut out, lhs, rhs, |_, col, segment| finish(col, segment));
        }
    }
    Ok(Tensor::from_vec(out, shape, &candle_core::Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// The same product by candle alone.
    fn reference(x: &Tensor, w: &Tensor, b: &Tensor) -> Result<Tensor> {
        Ok(x.broadcast_matmul(w)?.broadcast_add(b)?)
    }

    fn check(rows: usize, d_in: usize, d_out: usize, transposed: bool) -> Result<()> {
        let device = Device::Cpu;
        let x = Tensor::randn(0f32, 1.0, (rows, d_in), &device)?;
        let w = if transposed {
            Tensor::randn(0f32, 1.0, (d_out, d_in), &device)?.t()?
        } else {
            Tensor::randn(0f32, 1.0, (d_in, d_out), &device)?
        };
        let b = Tensor::randn(0f32, 1.0, d_out, &device)?;
        let diff = (linear(&x, &w, Some(&b))? - reference(&x, &w, &b)?)?.abs()?.max_all()?;
        assert!(diff.to_scalar::<f32>()? < 2e-4, "{rows}x{d_in}x{d_out} transposed {transposed}");
        Ok(())
    }

    #[test]
    fn every_path_equals_the_plain_product() -> Result<()> {
        for transposed in [false, true] {
            for (rows, d_in, d_out) in
                [(1, 7, 5), (1, 768, 3000), (3, 33, 1025), (5, 64, 100), (700, 48, 1300)]
            {
                check(rows, d_in, d_out, transposed)?;
            }
        }
        Ok(())
    }

    #[test]
    fn the_gradient_is_that_of_a_matrix_product() -> Result<()> {
        let x = candle_core::Var::randn(0f32, 1.0, (6, 5), &Device::Cpu)?;
        let w = Tensor::randn(0f32, 1.0, (5, 4), &Device::Cpu)?;
        let k = Tensor::randn(0f32, 1.0, (6, 4), &Device::Cpu)?;
        let ours = (linear(x.as_tensor(), &w, None)? * &k)?.sum_all()?.backward()?;
        let want = k.matmul(&w.t()?)?;
        let got = ours.get(x.as_tensor()).ok_or(Error::NoLogits)?;
        assert!((got - want)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
        Ok(())
    }
}
