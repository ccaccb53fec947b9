//! Tests of the crate, in one binary.
#![allow(clippy::unwrap_used)] // a failing test may stop

mod cross_layer;
mod files;
mod hooks;
mod packed;
mod plan;
mod prop;
mod sae;
mod saes;
mod splice;
mod tensor_files;
mod training;
