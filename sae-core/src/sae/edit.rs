//! Edits of single latents: what steering and ablation do to `hook_sae_acts_post`.

use candle_core::{DType, Device, Tensor};

use crate::hook::{HookName, Intervene, PosSlice};
use crate::{Error, Result};

/// What happens to a latent's activation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeatureOp {
    /// It becomes this value.
    Set(f64),
    /// This value is added.
    Add(f64),
    /// It is multiplied by this value.
    Scale(f64),
}

/// An edit of some latents at some positions of `[batch, pos, d_sae]` (or `[.., d_sae]`, when the
/// positions are all).
#[derive(Clone, Debug)]
pub struct FeatureEdit {
    /// Which latents.
    pub features: Vec<usize>,
    /// What happens to them.
    pub op: FeatureOp,
    /// Which positions.
    pub positions: PosSlice,
}

impl FeatureEdit {
    /// The same at every position.
    pub fn new(features: impl Into<Vec<usize>>, op: FeatureOp) -> Self {
        Self { features: features.into(), op, positions: PosSlice::All }
    }

    /// Zero these latents everywhere.
    pub fn ablate(features: impl Into<Vec<usize>>) -> Self {
        Self::new(features, FeatureOp::Set(0.0))
    }

    /// Only at these positions.
    #[must_use]
    pub fn only_at(mut self, positions: PosSlice) -> Self {
        self.positions = positions;
        self
    }

    /// The activations after the edit: `acts` is `[.., d_sae]`.
    ///
    /// Gradients pass through: none to a latent that was set, scaled ones where it was scaled.
    ///
    /// # Errors
    /// A latent or position that does not exist.
    pub fn edit(&self, acts: &Tensor) -> Result<Tensor> {
        let d_sae = acts.dim(candle_core::D::Minus1)?;
        let (mut factor, mut offset) = (vec![1f32; d_sae], vec![0f32; d_sae]);
        for &feature in &self.features {
            if feature >= d_sae {
                return Err(Error::FeatureOutOfRange { feature, d_sae });
            }
            #[allow(clippy::cast_possible_truncation)]
            match self.op {
                FeatureOp::Set(v) => (factor[feature], offset[feature]) = (0.0, v as f32),
                FeatureOp::Add(v) => offset[feature] += v as f32,
                FeatureOp::Scale(v) => factor[feature] *= v as f32,
            }
        }
        let device = acts.device();
        let factor = Tensor::from_vec(factor, d_sae, device)?.to_dtype(acts.dtype())?;
        let offset = Tensor::from_vec(offset, d_sae, device)?.to_dtype(acts.dtype())?;
        let edited = acts.broadcast_mul(&factor)?.broadcast_add(&offset)?;
        match self.positions {
            PosSlice::All => Ok(edited),
            _ => {
                let n = acts.dim(1)?;
                let mut mask = vec![0u8; n];
                self.positions.positions(n)?.iter().for_each(|p| mask[*p as usize] = 1);
                let mask = Tensor::from_vec(mask, (1, n, 1), &Device::Cpu)?
                    .to_device(device)?
                    .to_dtype(DType::U8)?
                    .broadcast_as(acts.shape())?;
                Ok(mask.where_cond(&edited, acts)?)
            }
        }
    }
}

impl Intervene for FeatureEdit {
    fn apply(&self, act: Tensor, _: HookName) -> Result<Tensor> {
        self.edit(&act)
    }
}
