//! Softmax over the last axis.

use candle_core::{D, Tensor};
use rayon::prelude::*;
use rten_simd::SimdOp;
use rten_vecmath::Softmax;

use super::cpu::{F32s, is_cpu_f32};
use crate::Result;
use crate::grad::attach;

/// Softmax over the last axis, shape kept; a row that is all minus infinity becomes all zero (a
/// query that sees nothing), as in TransformerLens.
///
/// # Errors
/// The tensor operation failed.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let plain = x.detach();
    let value = if is_cpu_f32(x) {
        let plain = plain.contiguous()?;
        let width = plain.dim(D::Minus1)?;
        let mut out = F32s::new(&plain)?.contiguous()?.to_vec();
        if width > 0 {
            out.par_chunks_mut(width).for_each(softmax_row);
        }
        Tensor::from_vec(out, x.shape(), x.device())?
    } else {
        let y = candle_nn::ops::softmax(&plain, D::Minus1)?;
        y.eq(&y)?.where_cond(&y, &y.zeros_like()?)?
    };
    let y = value.clone();
    attach(x, value, move |g| {
        let gy = (g * &y)?;
        Ok((&gy - y.broadcast_mul(&gy.sum_keepdim(D::Minus1)?)?)?)
    })
}

/// Softmax of one row in place; all minus infinity becomes all zero.
pub fn softmax_row(row: &mut [f32]) {
    Softmax::new_mut(row).flush_nans_to_zero(true).dispatch();
}
