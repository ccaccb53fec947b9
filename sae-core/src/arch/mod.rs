//! The architectures: one file each, over the parts that all share.

mod build;
mod cross_layer;
mod dictionary;
mod gated;
mod inference;
mod jumprelu;
mod pursuit;
mod select;
mod shared;
mod standard;
mod temporal;
mod topk;

pub use build::{WeightSource, build};
pub use cross_layer::{CrossLayer, CrossLayerTranscoder};
pub use dictionary::Dictionary;
pub use gated::Gated;
pub use inference::to_inference;
pub use jumprelu::JumpRelu;
pub use pursuit::PursuitSae;
pub use select::select;
pub use standard::Standard;
pub use temporal::TemporalSae;
pub use topk::TopK;

/// `ReLU(x W_enc + b_enc)`.
pub type StandardSae = Dictionary<Standard>;
/// Separate gate and magnitude paths.
pub type GatedSae = Dictionary<Gated>;
/// The `k` largest pre-activations.
pub type TopKSae = Dictionary<TopK>;
/// Pre-activations above a threshold per latent.
pub type JumpReluSae = Dictionary<JumpRelu>;
