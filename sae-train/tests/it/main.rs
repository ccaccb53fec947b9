//! Tests of training.

mod config;
mod fit;
mod gradients;
