//! Attention: fused where nothing inside is wanted, step by step otherwise.

mod fused;
mod stepwise;

pub(crate) use fused::attend;
pub(crate) use stepwise::attend_stepwise;
