//! `Codes`: sparse latent activations, row by row.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::ops::top_k_row;
use crate::{Error, Result};

/// Latent activations of `rows` inputs in compressed sparse rows: row `r` has the entries
/// `offsets[r]..offsets[r + 1]`, each a latent and its value, in order of latent.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    d_sae: usize,
    offsets: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl Codes {
    /// Codes from their parts.
    ///
    /// # Errors
    /// Offsets that do not rise from 0 to the number of entries, a row whose latents do not rise,
    /// or a latent beyond `d_sae`.
    pub fn new(
        d_sae: usize,
        offsets: Vec<usize>,
        indices: Vec<u32>,
        values: Vec<f32>,
    ) -> Result<Self> {
        let bad = |problem| Err(Error::BadCodes { problem });
        if offsets.first() != Some(&0) || offsets.last() != Some(&indices.len()) {
            return bad("offsets must rise from 0 to the number of entries");
        }
        if indices.len() != values.len() {
            return bad("there must be as many values as indices");
        }
        if offsets.windows(2).any(|w| w[0] > w[1]) {
            return bad("offsets must rise");
        }
        if indices.iter().any(|i| *i as usize >= d_sae) {
            return bad("an index lies beyond d_sae");
        }
        let codes = Self { d_sae, offsets, indices, values };
        if (0..codes.rows()).any(|r| codes.row(r).0.windows(2).any(|w| w[0] >= w[1])) {
            return bad("the indices of a row must rise");
        }
        Ok(codes)
    }

    /// As [`Codes::new`], for parts that are right by construction.
    pub(crate) fn from_sorted(
        d_sae: usize,
        offsets: Vec<usize>,
        indices: Vec<u32>,
        values: Vec<f32>,
    ) -> Self {
        Self { d_sae, offsets, indices, values }
    }

    /// From the entries of each row, latents rising.
    pub(crate) fn from_rows(d_sae: usize, rows: &[Vec<(u32, f32)>]) -> Self {
        let mut offsets = vec![0];
        offsets.extend(rows.iter().scan(0, |sum, row| {
            *sum += row.len();
            Some(*sum)
        }));
        let (indices, values) = rows.iter().flatten().copied().unzip();
        Self { d_sae, offsets, indices, values }
    }

    /// The non-zero entries of dense activations, `[.., d_sae]`, leading axes flattened.
    ///
    /// # Errors
    /// The tensor operation failed.
    #[allow(clippy::cast_possible_truncation)]
    pub fn from_dense(acts: &Tensor) -> Result<Self> {
        let d_sae = acts.dim(candle_core::D::Minus1)?;
        let flat = acts.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let flat = flat.flatten_all()?.to_vec1::<f32>()?;
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in flat.chunks_exact(d_sae.max(1)) {
            for (i, v) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                indices.push(i as u32);
                values.push(*v);
            }
            offsets.push(indices.len());
        }
        Ok(Self { d_sae, offsets, indices, values })
    }

    /// Dense activations, `[rows, d_sae]`.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn to_dense(&self) -> Result<Tensor> {
        let mut dense = vec![0f32; self.rows() * self.d_sae];
        for (r, row) in dense.chunks_exact_mut(self.d_sae.max(1)).enumerate() {
            let (indices, values) = self.row(r);
            for (i, v) in indices.iter().zip(values) {
                row[*i as usize] = *v;
            }
        }
        Ok(Tensor::from_vec(dense, (self.rows(), self.d_sae), &Device::Cpu)?)
    }

    /// Number of inputs.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of latents.
    pub fn d_sae(&self) -> usize {
        self.d_sae
    }

    /// Where the entries of each row begin, and where the last ends: `rows + 1` numbers.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// The latent of every entry.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The value of every entry.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same entries with other values, one per entry.
    ///
    /// # Panics
    /// Another number of values.
    #[must_use]
    pub fn replace(self, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), self.indices.len(), "one value per entry");
        Self { values, ..self }
    }

    /// The same codes with latent `i` called `names[i]`, of `d_sae` latents; names must rise.
    ///
    /// # Panics
    /// Fewer names than latents, or a name beyond `d_sae`.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // no SAE has u32::MAX latents
    pub fn renumbered(mut self, names: &[usize], d_sae: usize) -> Self {
        assert!(names.iter().all(|n| *n < d_sae), "a name beyond d_sae");
        self.indices.iter_mut().for_each(|i| *i = names[*i as usize] as u32);
        Self { d_sae, ..self }
    }

    /// No entries at all.
    pub fn empty(rows: usize, d_sae: usize) -> Self {
        Self { d_sae, offsets: vec![0; rows + 1], indices: Vec::new(), values: Vec::new() }
    }

    /// Latents and values of one row.
    ///
    /// # Panics
    /// `row` is not below [`Codes::rows`].
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let entries = self.offsets[row]..self.offsets[row + 1];
        (&self.indices[entries.clone()], &self.values[entries])
    }

    /// Mean number of non-zero latents per row.
    #[allow(clippy::cast_precision_loss)]
    pub fn l0(&self) -> f64 {
        let nonzero = self.values.iter().filter(|v| **v != 0.0).count();
        if self.rows() == 0 { 0.0 } else { nonzero as f64 / self.rows() as f64 }
    }

    /// Every value replaced by `f(value)`.
    #[must_use]
    pub fn map(self, f: impl Fn(f32) -> f32) -> Self {
        self.map_indexed(|_, v| f(v))
    }

    /// Every value replaced by `f(latent, value)`.
    #[must_use]
    pub fn map_indexed(mut self, f: impl Fn(usize, f32) -> f32) -> Self {
        for (value, index) in self.values.iter_mut().zip(&self.indices) {
            *value = f(*index as usize, *value);
        }
        self
    }

    /// The same codes without entries that are zero.
    #[must_use]
    pub fn without_zeros(self) -> Self {
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for r in 0..self.rows() {
            let (row_indices, row_values) = self.row(r);
            let kept = row_indices.iter().zip(row_values).filter(|(_, v)| **v != 0.0);
            for (index, value) in kept {
                indices.push(*index);
                values.push(*value);
            }
            offsets.push(indices.len());
        }
        Self { d_sae: self.d_sae, offsets, indices, values }
    }

    /// The same codes with every value of latent `i` multiplied by `by[i]`.
    #[must_use]
    pub(crate) fn scaled(self, by: &[f32]) -> Self {
        self.map_indexed(|i, v| v * by[i])
    }

    /// The `k` largest entries of each row.
    #[must_use]
    pub fn keep_top_k(self, k: usize) -> Self {
        if self.offsets.windows(2).all(|w| w[1] - w[0] <= k) {
            return self;
        }
        let rows: Vec<Vec<(u32, f32)>> = (0..self.rows())
            .into_par_iter()
            .map(|r| {
                let (indices, values) = self.row(r);
                let kept = top_k_row(values, k).into_iter();
                kept.map(|(at, value)| (indices[at as usize], value)).collect()
            })
            .collect();
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in rows {
            indices.extend(row.iter().map(|(i, _)| *i));
            values.extend(row.iter().map(|(_, v)| *v));
            offsets.push(indices.len());
        }
        Self { d_sae: self.d_sae, offsets, indices, values }
    }
}
