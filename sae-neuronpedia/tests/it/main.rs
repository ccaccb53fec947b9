//! What this crate promises, checked from outside.

// clippy.toml allows this in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

mod client;
mod feature;
mod quick_list;
mod server;
mod urls;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
