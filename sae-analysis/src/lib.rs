//! What the features of a sparse autoencoder mean and do.
//!
//! - [`top_features`], [`top_logits`]: which fire at a position, which tokens they promote
//! - [`evaluate`](mod@evaluate), [`reconstruction`], [`sparsity`], [`downstream`], [`weights`]: how good
//!   an SAE is, by SAELens' metrics
//! - [`stats`]: how often, how strongly and where each feature fires
//! - [`pca`]: the shape that a few features span
//! - [`attribution`]: which features a prediction depends on
//! - [`steering`], [`find_max_activation`]: pushing the model along a feature
//! - [`figure`]: offline pages with figures and their data

pub mod attribution;
pub mod downstream;
pub mod evaluate;
pub mod figure;
mod max_activation;
pub mod pca;
mod point;
pub mod reconstruction;
pub mod sparsity;
pub mod stats;
mod steer;
mod top;
pub mod weights;

pub use attribution::{AttributionOptions, Attributions, attribute};
pub use evaluate::{EvalData, Evaluation, evaluate};
pub use max_activation::{find_max_activation, max_activation};
pub use stats::FeatureStats;
pub use steer::steering;
pub use top::{Strongest, top_features, top_logits};
