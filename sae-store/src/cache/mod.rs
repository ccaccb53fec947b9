//! Caches of activations: one file, memory-mapped, whole or not there.
//!
//! A file is a header of 4096 bytes (magic number, SHA-256 of the rest of the header, JSON) and rows of
//! little-endian f32.

mod header;
mod map;
mod read;
mod write;

pub use header::CacheInfo;
pub use read::{Cached, Order};
pub use write::CacheWriter;
