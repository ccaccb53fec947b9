//! Tests of the crate, in one binary.
#![allow(clippy::unwrap_used)] // a failing test may stop

mod checkpoints;
mod decoder;
mod every_family;
mod families;
mod generation;
mod gguf;
mod gguf_damage;
mod gguf_tokenizer;
mod half;
mod memory;
mod real;
mod sampling;
mod stored;
mod stream;
mod toy;
