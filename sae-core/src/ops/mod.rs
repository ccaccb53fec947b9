//! Fused kernels for the CPU, each with a backward where a gradient may flow.
//!
//! On other devices, and for other types than f32, every function falls back to plain candle
//! operations. Reductions are cut at fixed boundaries, not by thread: the same input gives the
//! same bits whatever the number of threads.

mod cpu;
pub mod gemm;
mod latent;
mod linear;
mod norm;
mod pointwise;
mod softmax;
mod sparse;
mod vector;

pub use cpu::{F32s, is_cpu_f32};
pub use latent::{jump, keep_top_k, relu, top_k_row};
pub use linear::{Linear, linear};
pub use norm::{Centre, normalize};
pub use pointwise::{Activation, activate};
pub use softmax::{softmax, softmax_row};
pub use sparse::{decode_rows, encode_above, encode_gated, encode_top_k};
