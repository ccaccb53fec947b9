//! Tests of stored tokens and activations.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::cast_precision_loss)] // a failing test may stop

mod cache;
mod dataset;
mod live;
