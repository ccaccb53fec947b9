//! What this crate promises, checked from outside; the hub is a thread of the test.
//!
//! Behind an HTTP proxy, `NO_PROXY=127.0.0.1` keeps these requests on this machine.

// clippy.toml allows this in test functions only, not in what they share.
#![allow(clippy::unwrap_used)]

mod catalogue;
mod cross_layer;
mod dir;
mod env;
mod formats;
mod hub;
mod inbox;
mod names;
mod offline;
mod push;
mod refusals;
mod resume;
mod server;
mod snapshot;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
