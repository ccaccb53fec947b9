//! Sparse autoencoders on candle: their mathematics, and the traits the other `sae-*` crates share.
//!
//! - [`hook`]: places in a transformer by their TransformerLens names, plans of what to read and
//!   change there, taps for gradients
//! - [`model`]: what a hooked model is
//! - [`sae`]: what an SAE is, sparse codes, and an SAE spliced into a running model
//! - [`arch`]: the architectures
//! - [`sae_lens`]: SAELens directories, read and written
//! - [`fetch`]: where files of published models and SAEs come from
//! - [`ops`], [`grad`]: fused CPU kernels, and backwards where candle has none
//!
//! Programs that use this crate should set `mimalloc` as their global allocator: most of the time
//! of an element-wise operation on the CPU is otherwise spent on fresh pages.

mod error;

pub mod arch;
pub mod fetch;
pub mod grad;
pub mod hook;
pub mod io;
pub mod metric;
pub mod model;
pub mod ops;
pub mod sae;
pub mod sae_lens;
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tokenize;

pub use error::{Error, Result};
