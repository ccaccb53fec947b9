//! Fused kernels for the CPU, each with a backward where a gradient may flow.
//!
//! On other devices, and for other types than f32, every function falls back to plain candle
//! operations. Reductions are cut at fixed boundaries, not by thread: the same input gives the
//! same bits whatever the number of threads.

mod batch_best;
mod best;
mod cpu;
mod decode;
mod dense_encode;
mod element;
mod encode;
pub mod gemm;
mod half;
mod latent;
mod linear;
mod norm;
mod packed;
mod pairwise;
mod pointwise;
mod pursuit;
mod soft_cap;
mod softmax;
mod sparse_grad;
mod stream;
mod thin;
mod transpose;
pub mod vector;

pub use batch_best::encode_batch_best;
pub use best::top_k_row;
pub use cpu::{F32s, is_cpu_f32};
pub use decode::{decode_into, decode_rows};
pub use dense_encode::{latents_above, latents_gated};
pub use element::Element;
pub use encode::{
    encode_above, encode_batch_top_k, encode_best, encode_best_abs, encode_gated, encode_rows,
    encode_top_k, encode_top_k_abs,
};
pub use half::is_cpu_half;
pub use latent::{jump, keep_largest, keep_top_k, keep_top_k_abs, relu};
pub use linear::{linear, linear_activated};
pub use norm::{Centre, normalize};
pub use packed::{Bits, Format, Packed, Packing, linear_packed};
pub use pairwise::{add, multiply};
pub use pointwise::{Activation, activate};
pub use pursuit::{Choices, gather, pursue};
pub use soft_cap::{soft_cap, soft_cap_slice};
pub use softmax::{softmax, softmax_row};
pub use sparse_grad::{ByLatent, dots_at};
pub use transpose::{transpose, transposed};
