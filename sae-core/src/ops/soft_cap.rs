//! `cap tanh(x / cap)`: what Gemma 2 does to attention scores and logits.

use candle_core::Tensor;
use rayon::prelude::*;
use rten_simd::SimdUnaryOp;
use rten_vecmath::Tanh;

use super::cpu::{F32s, is_cpu_f32};
use crate::Result;
use crate::grad::attach;

/// Values that one task works on.
const CHUNK: usize = 1 << 14;

/// `cap tanh(x / cap)`, shape kept.
///
/// # Errors
/// The tensor operation failed.
pub fn soft_cap(x: &Tensor, cap: f64) -> Result<Tensor> {
    let plain = x.detach();
    let value = if is_cpu_f32(x) {
        let plain = plain.contiguous()?;
        let mut out = F32s::new(&plain)?.contiguous()?.to_vec();
        #[allow(clippy::cast_possible_truncation)]
        out.par_chunks_mut(CHUNK).for_each(|chunk| soft_cap_slice(chunk, cap as f32));
        Tensor::from_vec(out, x.shape(), x.device())?
    } else {
        ((plain / cap)?.tanh()? * cap)?
    };
    let y = value.clone();
    // d/dx = 1 - tanh^2(x / cap).
    attach(x, value, move |g| Ok((g * (&y / cap)?.sqr()?.affine(-1.0, 1.0)?)?))
}

/// [`soft_cap`] of a slice, in place.
pub fn soft_cap_slice(values: &mut [f32], cap: f32) {
    values.iter_mut().for_each(|value| *value /= cap);
    Tanh {}.map_mut(values);
    values.iter_mut().for_each(|value| *value *= cap);
}
