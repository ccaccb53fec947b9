//! Fakes that fit on a screen, tolerances, and the contracts that every implementor of a trait
//! must keep (feature `testing`).

mod contract;
mod split_sae;
mod tolerance;
mod toy_model;

pub use contract::{check_model, check_sae};
pub use split_sae::SplitSae;
pub use tolerance::Tolerance;
pub use toy_model::ToyModel;
