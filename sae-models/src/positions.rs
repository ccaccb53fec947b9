//! `Positions`: which position each new token of a batch has.

use candle_core::Tensor;
use sae_core::Result;

/// Position ids of the new tokens of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Positions {
    /// The same for every prompt: `n` from `first` on.
    Shared {
        /// Position of the first new token.
        first: usize,
        /// New tokens per prompt.
        n: usize,
    },
    /// One after another, prompt by prompt.
    Each(Vec<u32>),
}

impl Positions {
    pub(crate) fn shared(first: usize, n: usize) -> Self {
        Self::Shared { first, n }
    }

    /// Positions count over unmasked tokens only: `cumsum(mask) - 1`, not below zero. `mask`
    /// `[batch, pos]`, u8; `before` counts the unmasked positions that came earlier, per prompt.
    pub(crate) fn new(n: usize, mask: Option<&Tensor>, before: &[usize]) -> Result<Self> {
        let first = before.first().copied().unwrap_or(0);
        let rows = match mask {
            None if before.iter().all(|seen| *seen == first) => {
                return Ok(Self::shared(first, n));
            }
            None => vec![vec![1; n]; before.len()],
            Some(mask) => mask.to_vec2::<u8>()?,
        };
        Ok(Self::Each(rows.iter().zip(before).flat_map(|(row, seen)| ids(row, *seen)).collect()))
    }

    /// Every id that has a row of its own in tables made for these positions.
    #[allow(clippy::cast_possible_truncation)] // a context is never longer than u32::MAX
    pub(crate) fn distinct(&self) -> Vec<u32> {
        match self {
            Self::Shared { first, n } => (*first..first + n).map(|id| id as u32).collect(),
            Self::Each(ids) => ids.clone(),
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // a context is never longer than u32::MAX
fn ids(mask: &[u8], seen: usize) -> Vec<u32> {
    let mut count = seen as u32;
    mask.iter()
        .map(|visible| {
            count += u32::from(*visible);
            count.saturating_sub(1)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn positions_count_over_tokens_that_are_not_padding() -> Result<()> {
        let mask = Tensor::new(&[[0u8, 0, 1, 1], [1, 1, 1, 0]], &Device::Cpu)?;
        let got = Positions::new(4, Some(&mask), &[0, 0])?;
        assert_eq!(got, Positions::Each(vec![0, 0, 0, 1, 0, 1, 2, 2]));
        assert_eq!(Positions::new(2, None, &[3, 3])?, Positions::shared(3, 2));
        // Prompts that were padded before go on where each of them stopped.
        assert_eq!(Positions::new(2, None, &[2, 3])?, Positions::Each(vec![2, 3, 3, 4]));
        Ok(())
    }
}
