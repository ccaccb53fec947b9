//! Gradients where candle's fused operations have none: a value with a backward attached.

mod vjp;

pub use vjp::attach;
