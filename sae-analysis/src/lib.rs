//! What the features of a sparse autoencoder mean and do.
//!
//! - [`top_features`]: which fire at a position of a prompt
//! - [`top_logits`]: which tokens the decoder direction of a feature promotes

mod top;

pub use top::{Strongest, top_features, top_logits};
