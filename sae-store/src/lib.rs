//! Token rows for sparse autoencoders, packed as SAELens packs them.
//!
//! - [`pack`]: documents of token ids to rows of one length

pub mod pack;

pub use pack::{PackOptions, Packer};
