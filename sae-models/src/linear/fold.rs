//! Weight processing of a map: done to its weights where they are in f32, and otherwise to what it reads and
//! writes, so that weights that were rounded once stay what they are.

use candle_core::{D, Tensor};
use sae_core::Result;
use sae_core::ops::Centre;

use super::{Linear, Matrix};
use crate::weights::NormWeights;

/// What is done before and after the product with the weights.
#[derive(Clone, Debug, Default)]
pub(super) struct Fold {
    /// Subtract the mean from what is read.
    centre_input: bool,
    /// Multiply what is read, after that, `[d_in]`.
    gain: Option<Tensor>,
    /// Subtract the mean from what is written.
    centre_output: bool,
}

impl Fold {
    /// Whether `x W` is all.
    pub(super) fn is_none(&self) -> bool {
        !self.centre_input && self.gain.is_none() && !self.centre_output
    }

    /// Whether an output depends on the weights of others.
    pub(super) fn joins_outputs(&self) -> bool {
        self.centre_output
    }

    /// What the weights multiply.
    pub(super) fn read(&self, x: &Tensor) -> Result<Tensor> {
        let x = if self.centre_input { centre_last(x)? } else { x.clone() };
        match &self.gain {
            Some(gain) => Ok(x.broadcast_mul(gain)?),
            None => Ok(x),
        }
    }

    /// What is made of what they give.
    pub(super) fn write(&self, y: Tensor) -> Result<Tensor> {
        if self.centre_output { centre_last(&y) } else { Ok(y) }
    }

    /// The weights that do the same alone, `[d_in, d_out]` in f32.
    pub(super) fn apply(&self, w: &Tensor) -> Result<Tensor> {
        // Along the axis in which the weights lie together.
        let by_output = w.stride()[0] == 1;
        let read = |w: Tensor| -> Result<Tensor> {
            match (&self.gain, by_output) {
                (Some(gain), true) => Ok(w.t()?.broadcast_mul(gain)?.t()?),
                (Some(gain), false) => Ok(w.broadcast_mul(&gain.unsqueeze(1)?)?),
                (None, _) => Ok(w),
            }
        };
        let mut w = read(w.clone())?;
        if self.centre_input {
            w = match by_output {
                true => centre_last(&w.t()?)?.t()?,
                false => {
                    let mean = Matrix::Plain(w.t()?).mean_of_outputs()?;
                    w.broadcast_sub(&mean)?
                }
            };
        }
        self.write(w)
    }
}

impl Linear {
    /// The map after its norm's gain and bias, which the norm then has no longer: `W' = diag(gain) W`,
    /// `b' = b + bias W`; after a LayerNorm `W'` is centred over its input axis too, since what it reads has mean
    /// zero.
    pub(crate) fn after_norm(&self, norm: &NormWeights, centre: Centre) -> Result<Self> {
        let NormWeights::Affine { gain, bias } = norm else {
            return Ok(self.clone());
        };
        let shift =
            bias.as_ref().map(|bias| self.product(&bias.unsqueeze(0)?)?.squeeze(0)).transpose()?;
        let bias = match (&self.bias, shift) {
            (Some(b), Some(shift)) => Some((b + shift)?),
            (b, shift) => shift.or_else(|| b.clone()),
        };
        let fold = Fold {
            centre_input: centre == Centre::Mean,
            gain: Some(gain.clone()),
            centre_output: false,
        };
        self.folded(fold, bias)
    }

    /// The map with what it writes centred.
    pub(crate) fn centred(&self) -> Result<Self> {
        let bias = self.bias.as_ref().map(centre_last).transpose()?;
        self.folded(Fold { centre_output: true, ..self.fold.clone() }, bias)
    }

    fn folded(&self, fold: Fold, bias: Option<Tensor>) -> Result<Self> {
        let (matrix, fold) = match self.matrix.f32() {
            Some(w) => (Matrix::Plain(fold.apply(w)?), Fold::default()),
            None => (self.matrix.clone(), fold),
        };
        Ok(Self { matrix, bias, fold })
    }
}

pub(crate) fn centre_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?)
}
