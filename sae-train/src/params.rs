//! `Params`: the weights of an SAE in training, and anything of the same shape (gradients, moments).

use rayon::prelude::*;

/// Elements that are reduced together; fixed, so that sums have the same bits for any number of
/// threads.
const CHUNK: usize = 1 << 15;

/// Weights, or gradients, or moments, of one SAE. Both matrices keep a latent's row contiguous.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Width of the input.
    pub d_in: usize,
    /// Number of latents.
    pub d_sae: usize,
    /// `W_enc` transposed, `[d_sae, d_in]`; empty where it is `W_dec` transposed.
    pub w_enc: Vec<f32>,
    /// `[d_sae, d_in]`
    pub w_dec: Vec<f32>,
    /// `[d_in]`
    pub b_dec: Vec<f32>,
    /// What the architecture has besides, each `[d_sae]`, by SAELens' name.
    pub per_latent: Vec<(&'static str, Vec<f32>)>,
}

impl Params {
    /// All zeros.
    pub fn zeros(d_in: usize, d_sae: usize, per_latent: &[&'static str]) -> Self {
        Self {
            d_in,
            d_sae,
            w_enc: vec![0.0; d_sae * d_in],
            w_dec: vec![0.0; d_sae * d_in],
            b_dec: vec![0.0; d_in],
            per_latent: per_latent.iter().map(|name| (*name, vec![0.0; d_sae])).collect(),
        }
    }

    /// All zeros, without a `W_enc` of its own.
    pub fn tied(d_in: usize, d_sae: usize) -> Self {
        Self { w_enc: Vec::new(), ..Self::zeros(d_in, d_sae, &[]) }
    }

    /// Whether there is a `W_enc`.
    pub fn has_encoder(&self) -> bool {
        self.w_enc.len() == self.w_dec.len()
    }

    /// Zeros of the same shape.
    #[must_use]
    pub fn zeros_like(&self) -> Self {
        let names: Vec<&'static str> = self.per_latent.iter().map(|(name, _)| *name).collect();
        let zeros = Self::zeros(self.d_in, self.d_sae, &names);
        if self.has_encoder() { zeros } else { Self { w_enc: Vec::new(), ..zeros } }
    }

    /// The tensors of the architecture, in its own order.
    ///
    /// # Panics
    /// The architecture has fewer: a mistake in its recipe.
    pub(crate) fn latent<const N: usize>(&self) -> [&[f32]; N] {
        std::array::from_fn(|i| self.per_latent[i].1.as_slice())
    }

    /// As [`Params::latent`], to be changed.
    pub(crate) fn latent_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.per_latent[i].1
    }

    /// Every tensor with SAELens' name, in a fixed order.
    pub fn tensors(&self) -> impl Iterator<Item = (&'static str, &Vec<f32>)> {
        let w_enc = self.has_encoder().then_some(("W_enc", &self.w_enc));
        let shared = [("W_dec", &self.w_dec), ("b_dec", &self.b_dec)];
        w_enc
            .into_iter()
            .chain(shared)
            .chain(self.per_latent.iter().map(|(name, values)| (*name, values)))
    }

    /// As [`Params::tensors`], to be changed.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Vec<f32>)> {
        let w_enc = self.has_encoder().then_some(("W_enc", &mut self.w_enc));
        let shared = [("W_dec", &mut self.w_dec), ("b_dec", &mut self.b_dec)];
        w_enc
            .into_iter()
            .chain(shared)
            .chain(self.per_latent.iter_mut().map(|(name, values)| (*name, values)))
    }

    /// Set everything to zero.
    pub fn clear(&mut self) {
        for (_, values) in self.tensors_mut() {
            values.par_chunks_mut(CHUNK).for_each(|c| c.fill(0.0));
        }
    }

    /// The norm of all values together.
    pub fn norm(&self) -> f64 {
        let squares = |values: &[f32]| -> f64 {
            let parts: Vec<f64> = values.par_chunks(CHUNK).map(sum_squares).collect();
            parts.into_iter().sum()
        };
        self.tensors().map(|(_, values)| squares(values)).sum::<f64>().sqrt()
    }
}

fn sum_squares(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum()
}

/// Norm of every row of `w` `[rows, width]`.
pub(crate) fn row_norms(w: &[f32], width: usize) -> Vec<f32> {
    let norm = |row: &[f32]| sae_core::ops::vector::sum_squares(row, 0.0).sqrt();
    w.par_chunks_exact(width.max(1)).map(norm).collect()
}

/// Sum over rows of `x` `[rows, width]`.
pub(crate) fn column_sums(x: &[f32], width: usize) -> Vec<f32> {
    const ROWS: usize = 64;
    let part = |rows: &[f32]| {
        let mut sum = vec![0f32; width];
        rows.chunks_exact(width).for_each(|row| sae_core::ops::vector::add(&mut sum, row));
        sum
    };
    let parts: Vec<Vec<f32>> = x.par_chunks(ROWS * width.max(1)).map(part).collect();
    add_all(&parts, width)
}

/// `sum_i a[i] * rows[i]` for `w` `[a.len(), width]`.
pub(crate) fn weighted_sum(a: &[f32], w: &[f32], width: usize) -> Vec<f32> {
    const ROWS: usize = 256;
    let part = |(a, rows): (&[f32], &[f32])| {
        let mut sum = vec![0f32; width];
        sae_core::ops::vector::accumulate(&mut sum, a, |i| &rows[i * width..][..width]);
        sum
    };
    let parts: Vec<Vec<f32>> =
        a.par_chunks(ROWS).zip(w.par_chunks(ROWS * width.max(1))).map(part).collect();
    add_all(&parts, width)
}

fn add_all(parts: &[Vec<f32>], width: usize) -> Vec<f32> {
    let mut sum = vec![0f32; width];
    parts.iter().for_each(|part| sae_core::ops::vector::add(&mut sum, part));
    sum
}
