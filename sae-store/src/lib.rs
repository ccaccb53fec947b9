//! Token rows and activations for sparse autoencoders.
//!
//! - [`pack`], [`tokens`]: documents to rows of token ids, packed as SAELens packs them
//! - [`dataset`]: documents from text, JSON lines and parquet
//! - [`harvest`], [`live`], [`mixer`]: activations from a running model, mixed; a thread may run it ahead
//! - [`cache`], [`permute`]: activations in a memory-mapped file, read in a shuffled order
//! - [`memory`]: rows that are already there

pub mod cache;
pub mod dataset;
mod error;
pub mod harvest;
pub mod live;
pub mod memory;
pub mod mixer;
pub mod pack;
pub mod permute;
pub mod tokens;

pub use cache::{CacheInfo, CacheWriter, Cached, Order};
pub use error::{Error, Result};
pub use harvest::Harvest;
pub use live::Live;
pub use memory::MemorySource;
pub use mixer::{MixOptions, Mixer};
pub use pack::{PackOptions, Packer};
pub use tokens::{Cut, Packed, RowsInMemory, TokenRows};
