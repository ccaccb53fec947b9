//! Tests of stored tokens and activations.

mod cache;
mod dataset;
mod live;
