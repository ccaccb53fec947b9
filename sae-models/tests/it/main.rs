//! Tests of the crate, in one binary.
#![allow(clippy::unwrap_used)] // a failing test may stop

mod checkpoints;
mod decoder;
mod generation;
mod memory;
mod sampling;
