//! What this crate promises, checked from outside.

mod feature;
mod quick_list;
mod urls;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
