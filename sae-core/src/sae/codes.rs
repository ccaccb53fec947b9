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
        dense.par_chunks_exact_mut(self.d_sae.max(1)).enumerate().for_each(|(r, row)| {
            let (indices, values) = self.row(r);
            for (i, v) in indices.iter().zip(values) {
                row[*i as usize] = *v;
            }
        });
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

    /// Every row has the one latent that `latents` names, at 1.
    ///
    /// # Panics
    /// A latent is not below `d_sae`.
    pub fn one_per_row(d_sae: usize, latents: &[u32]) -> Self {
        assert!(latents.iter().all(|i| (*i as usize) < d_sae), "a latent beyond d_sae");
        let offsets = (0..=latents.len()).collect();
        Self { d_sae, offsets, indices: latents.to_vec(), values: vec![1.0; latents.len()] }
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

    /// The same codes with every value of latent `i` multiplied by `by[i]`.
    #[must_use]
    pub(crate) fn scaled(self, by: &[f32]) -> Self {
        self.map_indexed(|i, v| v * by[i])
    }

    /// The `k` largest entries of each row; of equal ones those of the lower latents.
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
        Self::from_rows(self.d_sae, &rows)
    }

    /// The `n` largest entries of all rows together; of equal ones those that come first. Entries
    /// that are NaN are kept besides.
    #[must_use]
    pub fn keep_largest(self, n: usize) -> Self {
        let mut ranked: Vec<f32> = self.values.iter().copied().filter(|v| !v.is_nan()).collect();
        if ranked.len() <= n {
            return self;
        }
        let bar = match n {
            0 => f32::INFINITY,
            _ => *ranked.select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a)).1,
        };
        let above = ranked.iter().filter(|v| **v > bar).count();
        let mut room = n.saturating_sub(above);
        self.retain(|v| {
            #[allow(clippy::float_cmp)] // the bar is one of the values
            let level = v == bar && room > 0;
            room -= usize::from(level);
            v.is_nan() || v > bar || level
        })
    }

    /// Latents `from..to` alone, numbered from 0.
    ///
    /// # Panics
    /// `to` is beyond `d_sae`, or before `from`.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // no SAE has u32::MAX latents
    pub fn latents(&self, from: usize, to: usize) -> Self {
        assert!(from <= to && to <= self.d_sae, "latents {from}..{to} of {}", self.d_sae);
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for r in 0..self.rows() {
            let (row_indices, row_values) = self.row(r);
            let start = row_indices.partition_point(|i| (*i as usize) < from);
            let end = row_indices.partition_point(|i| (*i as usize) < to);
            indices.extend(row_indices[start..end].iter().map(|i| i - from as u32));
            values.extend(&row_values[start..end]);
            offsets.push(indices.len());
        }
        Self { d_sae: to - from, offsets, indices, values }
    }

    /// The same codes without entries that are zero.
    #[must_use]
    pub fn without_zeros(self) -> Self {
        self.retain(|v| v != 0.0)
    }

    /// The entries whose value passes, asked in order.
    fn retain(self, mut keep: impl FnMut(f32) -> bool) -> Self {
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for r in 0..self.rows() {
            let (row_indices, row_values) = self.row(r);
            for (index, value) in row_indices.iter().zip(row_values) {
                if keep(*value) {
                    indices.push(*index);
                    values.push(*value);
                }
            }
            offsets.push(indices.len());
        }
        Self { d_sae: self.d_sae, offsets, indices, values }
    }

    /// The values of some latents, `[rows, features]`, in the order given.
    ///
    /// # Errors
    /// A latent that there is not.
    pub fn columns(&self, features: &[usize]) -> Result<Tensor> {
        let d_sae = self.d_sae;
        if let Some(&feature) = features.iter().find(|f| **f >= d_sae) {
            return Err(Error::FeatureOutOfRange { feature, d_sae });
        }
        let mut out = vec![0f32; self.rows() * features.len()];
        for (r, out) in out.chunks_exact_mut(features.len().max(1)).enumerate() {
            let (indices, values) = self.row(r);
            for (out, feature) in out.iter_mut().zip(features) {
                if let Ok(at) = indices.binary_search_by(|i| (*i as usize).cmp(feature)) {
                    *out = values[at];
                }
            }
        }
        Ok(Tensor::from_vec(out, (self.rows(), features.len()), &Device::Cpu)?)
    }
}
