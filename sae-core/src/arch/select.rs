//! An SAE of a few latents of another: what one feature does, for the price of one encoder column.

use candle_core::Tensor;

use super::build::{InMemory, WeightSource, build};
use crate::sae::{Architecture, Sae};
use crate::{Error, Result};

/// The SAE of `features` alone, in that order, where a latent does not depend on the others; `None` for
/// architectures whose latents compete (TopK) or follow one another.
///
/// # Errors
/// A feature that the SAE does not have.
pub fn select(sae: &dyn Sae, features: &[usize]) -> Result<Option<Box<dyn Sae>>> {
    let spec = sae.spec();
    if let Some(&feature) = features.iter().find(|f| **f >= spec.d_sae) {
        return Err(Error::FeatureOutOfRange { feature, d_sae: spec.d_sae });
    }
    match spec.architecture {
        Architecture::Standard { .. } | Architecture::Gated | Architecture::JumpRelu => {}
        Architecture::TopK { .. }
        | Architecture::AbsTopK { .. }
        | Architecture::BatchTopK(_)
        | Architecture::MatchingPursuit(_)
        | Architecture::Temporal(_) => return Ok(None),
    }
    let mut few = spec.clone();
    few.d_sae = features.len();
    let index: Vec<i64> = features.iter().map(|f| i64::try_from(*f).unwrap_or(i64::MAX)).collect();
    let n = index.len();
    let index = Tensor::from_vec(index, n, sae.decoder().device())?;
    let mut source = Selected { all: InMemory(sae.tensors()), index };
    Ok(Some(build(few, &mut source)?))
}

struct Selected {
    all: InMemory,
    index: Tensor,
}

impl WeightSource for Selected {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.few(name, self.all.find(name, shape)?)
    }

    fn take_if_there(&mut self, name: &str, _: &[usize]) -> Result<Option<Tensor>> {
        self.all.get(name).map(|tensor| self.few(name, tensor)).transpose()
    }
}

impl Selected {
    /// Latents are the last axis of everything but `W_dec`; `b_dec` and `W_skip` have none.
    fn few(&self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        Ok(match name {
            "b_dec" | "W_skip" => tensor.clone(),
            "W_dec" => tensor.index_select(&self.index, 0)?,
            _ => tensor.contiguous()?.index_select(&self.index, tensor.rank() - 1)?,
        })
    }
}
