//! Tests of training.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_precision_loss)] // a failing test may stop

mod config;
mod fit;
mod prop;
