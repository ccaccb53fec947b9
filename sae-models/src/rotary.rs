//! Rotary positions: each pair of coordinates of a head turned by an angle that grows with the
//! position (Su et al. 2021).

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use sae_core::grad::attach;
use sae_core::ops::F32s;
use sae_core::{Error, Result};

use crate::positions::Positions;

/// How queries and keys are rotated.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// So many coordinates of each head are rotated, the first ones.
    pub n_dims: usize,
    /// Which coordinates make a pair.
    pub pairs: Pairs,
    /// Angle per position of each pair, `[n_dims / 2]`; layers choose among these.
    pub frequencies: Vec<Vec<f64>>,
}

/// Which coordinates make a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// `j` and `j + n_dims / 2`.
    Halves,
    /// `2 j` and `2 j + 1`.
    Adjacent,
}

/// Sines and cosines for the new positions of one run.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    pairs: Pairs,
    /// Pairs per head.
    half: usize,
    /// `[rows, half]` each; one row per position, for each prompt apart where prompts differ.
    cos: Arc<[f32]>,
    sin: Arc<[f32]>,
}

impl Rotary {
    /// The rotations that the layers choose among.
    pub(crate) fn rotations(&self, positions: &Positions) -> Vec<Rotation> {
        self.frequencies.iter().map(|f| Rotation::new(self.pairs, f, positions)).collect()
    }
}

impl Rotation {
    #[allow(clippy::cast_possible_truncation)]
    fn new(pairs: Pairs, frequencies: &[f64], positions: &Positions) -> Self {
        let half = frequencies.len();
        let ids = positions.distinct();
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for id in ids {
            for frequency in frequencies {
                let (s, c) = (f64::from(id) * frequency).sin_cos();
                cos.push(c as f32);
                sin.push(s as f32);
            }
        }
        Self { pairs, half, cos: cos.into(), sin: sin.into() }
    }

    /// Heads rotated by their positions, `[batch, pos, head, d_head]` of any strides with the last
    /// axis contiguous; coordinates beyond the rotated ones are left as they are.
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let value = self.turn(&x.detach(), 1.0)?;
        let back = self.clone();
        attach(x, value, move |g| back.turn(g, -1.0))
    }

    fn turn(&self, x: &Tensor, direction: f32) -> Result<Tensor> {
        let (batch, pos, heads, d_head) = x.dims4()?;
        let view = F32s::new(x)?;
        let strides = view.strides();
        if strides[3] != 1 {
            return Err(Error::LayoutOutside);
        }
        let rows = self.cos.len() / self.half.max(1);
        let mut out = vec![0f32; batch * pos * heads * d_head];
        out.par_chunks_exact_mut((heads * d_head).max(1)).enumerate().for_each(|(row, out)| {
            let (b, p) = (row / pos, row % pos);
            // Prompts with the same positions share their rows.
            let at = (row % rows) * self.half;
            let (cos, sin) = (&self.cos[at..][..self.half], &self.sin[at..][..self.half]);
            let from = b * strides[0] + p * strides[1];
            for (head, out) in out.chunks_exact_mut(d_head).enumerate() {
                let x = &view.values()[from + head * strides[2]..][..d_head];
                self.turn_head(out, x, (cos, sin), direction);
            }
        });
        Ok(Tensor::from_vec(out, (batch, pos, heads, d_head), &Device::Cpu)?)
    }

    fn turn_head(&self, out: &mut [f32], x: &[f32], (cos, sin): (&[f32], &[f32]), direction: f32) {
        let half = self.half;
        out[2 * half..].copy_from_slice(&x[2 * half..]);
        for j in 0..half {
            let (first, second) = match self.pairs {
                Pairs::Halves => (j, j + half),
                Pairs::Adjacent => (2 * j, 2 * j + 1),
            };
            let (c, s) = (cos[j], direction * sin[j]);
            out[first] = x[first] * c - x[second] * s;
            out[second] = x[second] * c + x[first] * s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation(pairs: Pairs) -> Rotation {
        let rotary = Rotary { n_dims: 4, pairs, frequencies: vec![vec![1.0, 0.1]] };
        rotary.rotations(&Positions::shared(3, 2)).remove(0)
    }

    #[test]
    fn each_pair_turns_by_its_angle_and_the_rest_stays() -> Result<()> {
        let x = Tensor::new(&[1f32, 0.0, 0.0, 2.0, 7.0], &Device::Cpu)?;
        let x = x.reshape((1, 1, 1, 5))?.repeat((1, 2, 1, 1))?;
        for (pairs, first, second) in
            [(Pairs::Halves, [0, 2], [1, 3]), (Pairs::Adjacent, [0, 1], [2, 3])]
        {
            let y = rotation(pairs).apply(&x)?.reshape((2, 5))?.to_vec2::<f32>()?;
            let x = x.reshape((2, 5))?.to_vec2::<f32>()?;
            for (row, position) in [3f32, 4.0].into_iter().enumerate() {
                for ([a, b], angle) in [(first, position), (second, 0.1 * position)] {
                    let (s, c) = angle.sin_cos();
                    assert!((y[row][a] - (x[row][a] * c - x[row][b] * s)).abs() < 1e-6);
                    assert!((y[row][b] - (x[row][b] * c + x[row][a] * s)).abs() < 1e-6);
                }
                assert_eq!(y[row][4].to_bits(), 7f32.to_bits());
            }
        }
        Ok(())
    }

    #[test]
    fn turning_back_undoes_turning() -> Result<()> {
        let x = Tensor::randn(0f32, 1.0, (3, 2, 4, 6), &Device::Cpu)?;
        let rotation = rotation(Pairs::Halves);
        let back = rotation.turn(&rotation.turn(&x, 1.0)?, -1.0)?;
        assert!((back - x)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-6);
        Ok(())
    }
}
