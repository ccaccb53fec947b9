//! What this crate promises, checked from outside; the hub is a thread of the test.

mod dir;
mod env;
mod hub;
mod names;
mod offline;
mod refusals;
mod resume;
mod server;
mod snapshot;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
