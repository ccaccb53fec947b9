//! `PosSlice`: which positions a capture keeps.

use candle_core::{Device, Tensor};

use super::{Axis, HookName};
use crate::{Error, Result};

/// Which positions to keep, with the meaning of TransformerLens' `pos_slice`.
///
/// Acts on the position axis of every activation; on scores and patterns it is the query axis.
/// (TransformerLens slices the *head* axis of `hook_rot_q` and `hook_rot_k`; here it is always
/// the position.) Activations without a position axis are kept whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PosSlice {
    /// Every position.
    #[default]
    All,
    /// One position, negative from the end; the axis stays, with length 1.
    At(isize),
    /// A Python slice.
    Range {
        /// First position; negative from the end.
        start: Option<isize>,
        /// One past the last position; negative from the end.
        stop: Option<isize>,
        /// Step, not zero.
        step: Option<isize>,
    },
    /// These positions, in this order; negative from the end.
    Indices(Vec<isize>),
}

impl PosSlice {
    /// The kept positions of `n`.
    ///
    /// # Errors
    /// A single index or listed index outside `-n..n`, or a step of zero.
    pub fn positions(&self, n: usize) -> Result<Vec<u32>> {
        let len = isize::try_from(n).unwrap_or(isize::MAX);
        let one = |i: isize| -> Result<u32> {
            let at = if i < 0 { i + len } else { i };
            match u32::try_from(at) {
                Ok(p) if at < len => Ok(p),
                _ => Err(Error::PositionOutOfRange { position: i, n_positions: n }),
            }
        };
        match self {
            Self::All => Ok((0..n).map(|p| u32::try_from(p).unwrap_or(u32::MAX)).collect()),
            Self::At(i) => Ok(vec![one(*i)?]),
            Self::Indices(list) => list.iter().map(|i| one(*i)).collect(),
            Self::Range { start, stop, step } => {
                let step = step.unwrap_or(1);
                if step == 0 {
                    return Err(Error::ZeroStep);
                }
                // CPython's slice.indices.
                let (low, high) = if step > 0 { (0, len) } else { (-1, len - 1) };
                let clamp = |x: isize| (if x < 0 { x + len } else { x }).clamp(low, high);
                let first = start.map_or(if step > 0 { low } else { high }, clamp);
                let last = stop.map_or(if step > 0 { high } else { low }, clamp);
                let mut kept = Vec::new();
                let mut i = first;
                while (step > 0 && i < last) || (step < 0 && i > last) {
                    kept.push(one(i)?);
                    i += step;
                }
                Ok(kept)
            }
        }
    }

    /// Keep the chosen positions of the activation found at `at`.
    ///
    /// # Errors
    /// As [`PosSlice::positions`].
    pub fn apply(&self, act: &Tensor, at: HookName) -> Result<Tensor> {
        let axis = at.axes().iter().position(|a| matches!(a, Axis::Pos | Axis::KeyPos));
        let (Some(dim), false) = (axis, matches!(self, Self::All)) else { return Ok(act.clone()) };
        let kept = self.positions(act.dim(dim)?)?;
        let index = Tensor::new(kept.as_slice(), &Device::Cpu)?.to_device(act.device())?;
        Ok(act.contiguous()?.index_select(&index, dim)?)
    }
}
