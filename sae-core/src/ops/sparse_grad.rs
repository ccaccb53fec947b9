//! Gradients through sparse codes: one number per entry, one row per latent.
//!
//! With codes `f` and output gradients `g`, `df = g W_dec^T` is wanted only where `f` has entries, and
//! `dW_dec = f^T g` has rows only for latents that fired: both cost `l0 / d_sae` of a dense product.

use rayon::prelude::*;

use super::decode::{DENSE_ABOVE, product};
use super::gemm::{Mat, gemm};
use super::vector;
use crate::sae::Codes;

/// Rows, or latents, that are worked on together.
const BLOCK: usize = 64;

/// For every entry of `codes`, the product of its input's row of `g` `[rows, width]` with its latent's
/// row of `w` `[d_sae, width]`.
///
/// # Panics
/// Lengths that do not fit each other: callers check shapes first.
pub fn dots_at(codes: &Codes, g: &[f32], w: &[f32], width: usize) -> Vec<f32> {
    let (rows, d_sae) = (codes.rows(), codes.d_sae());
    assert_eq!((g.len(), w.len()), (rows * width, d_sae * width));
    let offsets = codes.offsets();
    let mut out = vec![0f32; offsets[rows]];
    let mut blocks = Vec::with_capacity(rows.div_ceil(BLOCK));
    let mut rest = out.as_mut_slice();
    for from in (0..rows).step_by(BLOCK) {
        let to = (from + BLOCK).min(rows);
        let (block, after) = rest.split_at_mut(offsets[to] - offsets[from]);
        blocks.push((from, to, block));
        rest = after;
    }
    blocks.into_par_iter().for_each_init(Vec::new, |dense: &mut Vec<f32>, (from, to, out)| {
        let n = to - from;
        let all = out.len() * DENSE_ABOVE > n * d_sae;
        if all {
            dense.resize(n * d_sae, 0.0);
            let (left, right) = (
                Mat::new(&g[from * width..], (n, width), (width, 1)),
                Mat::new(w, (width, d_sae), (1, width)),
            );
            if let (Some(left), Some(right)) = (left, right) {
                gemm(dense, d_sae, left, right, 1.0);
            }
        }
        let mut next = 0;
        for row in from..to {
            let (indices, _) = codes.row(row);
            let out = &mut out[next..next + indices.len()];
            next += indices.len();
            if all {
                let products = &dense[(row - from) * d_sae..][..d_sae];
                out.iter_mut().zip(indices).for_each(|(o, i)| *o = products[*i as usize]);
            } else {
                let g = &g[row * width..][..width];
                vector::dots(out, g, |i| &w[indices[i] as usize * width..][..width]);
            }
        }
    });
    out
}

/// The entries of codes ordered by latent.
#[derive(Clone, Debug)]
pub struct ByLatent {
    rows: usize,
    offsets: Vec<usize>,
    /// The input of each entry.
    inputs: Vec<u32>,
    /// Which entry of the codes each is.
    entries: Vec<u32>,
}

impl ByLatent {
    /// Sort the entries of `codes`; inputs rise within a latent.
    #[allow(clippy::cast_possible_truncation)] // a batch has fewer than u32::MAX entries
    pub fn new(codes: &Codes) -> Self {
        let mut offsets = vec![0usize; codes.d_sae() + 1];
        for i in codes.indices() {
            offsets[*i as usize + 1] += 1;
        }
        for i in 0..codes.d_sae() {
            offsets[i + 1] += offsets[i];
        }
        let n = codes.indices().len();
        let (mut inputs, mut entries) = (vec![0u32; n], vec![0u32; n]);
        let mut next = offsets.clone();
        for row in 0..codes.rows() {
            for e in codes.offsets()[row]..codes.offsets()[row + 1] {
                let slot = &mut next[codes.indices()[e] as usize];
                inputs[*slot] = row as u32;
                entries[*slot] = e as u32;
                *slot += 1;
            }
        }
        Self { rows: codes.rows(), offsets, inputs, entries }
    }

    /// How many inputs each latent is active on.
    pub fn counts(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.offsets.windows(2).map(|w| w[1] - w[0])
    }

    /// The sum over a latent's entries of `values`, one per entry of the codes: `[d_sae]`.
    pub fn sums(&self, values: &[f32]) -> Vec<f32> {
        let sum = |w: &[usize]| {
            let of = self.entries[w[0]..w[1]].iter().map(|e| f64::from(values[*e as usize]));
            narrow(of.sum())
        };
        self.offsets.par_windows(2).map(sum).collect()
    }

    /// `out[latent] += sum values[entry] * x[input]` over the latent's entries: `x` `[rows, width]`,
    /// `out` `[d_sae, width]`.
    ///
    /// # Panics
    /// Lengths that do not fit each other: callers check shapes first.
    pub fn accumulate(&self, out: &mut [f32], values: &[f32], x: &[f32], width: usize) {
        let latents = self.offsets.len() - 1;
        assert_eq!((out.len(), x.len()), (latents * width, self.rows * width));
        if width == 0 {
            return;
        }
        out.par_chunks_mut(BLOCK * width).enumerate().for_each_init(
            || (Vec::new(), Vec::new()),
            |(dense, sum), (block, out)| {
                let (from, n) = (block * BLOCK, out.len() / width);
                let entries = self.offsets[from + n] - self.offsets[from];
                if entries * DENSE_ABOVE > n * self.rows {
                    self.expand(dense, values, from, n);
                    sum.resize(n * width, 0.0);
                    product(sum, (dense, n), (x, self.rows), width);
                    vector::add(out, sum);
                    return;
                }
                for (i, y) in out.chunks_exact_mut(width).enumerate() {
                    let of = self.offsets[from + i]..self.offsets[from + i + 1];
                    let inputs = &self.inputs[of.clone()];
                    dense.clear();
                    dense.extend(self.entries[of].iter().map(|e| values[*e as usize]));
                    vector::accumulate(y, dense, |j| &x[inputs[j] as usize * width..][..width]);
                }
            },
        );
    }

    /// The values of latents `from..from + n`, `[n, rows]`.
    fn expand(&self, dense: &mut Vec<f32>, values: &[f32], from: usize, n: usize) {
        dense.clear();
        dense.resize(n * self.rows, 0.0);
        for (i, row) in dense.chunks_exact_mut(self.rows).enumerate() {
            for e in self.offsets[from + i]..self.offsets[from + i + 1] {
                row[self.inputs[e] as usize] = values[self.entries[e] as usize];
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn narrow(sum: f64) -> f32 {
    sum as f32
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::float_cmp)] // small whole numbers are exact
mod tests {
    use super::*;

    /// Codes with about one entry in `every`, and matrices of small whole numbers: sums are exact.
    fn case(every: usize) -> (Codes, Vec<f32>, Vec<f32>) {
        let (rows, d_sae, width) = (130, 70, 5);
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        for r in 0..rows {
            for i in (0..d_sae).filter(|i| (r * 31 + i * 17) % every == 0) {
                indices.push(i as u32);
                values.push(((r + i) % 7) as f32 - 3.0);
            }
            offsets.push(indices.len());
        }
        let codes = Codes::new(d_sae, offsets, indices, values).unwrap();
        let numbers = |n: usize| (0..n).map(|i| ((i * 13) % 11) as f32 - 5.0).collect();
        (codes, numbers(rows * width), numbers(d_sae * width))
    }

    #[test]
    fn sparse_and_dense_blocks_give_the_plain_sums() {
        const WIDTH: usize = 5;
        for every in [1, 3, 40] {
            let (codes, x, w) = case(every);
            let dots = dots_at(&codes, &x, &w, WIDTH);
            let by = ByLatent::new(&codes);
            let mut sums = vec![1f32; w.len()];
            by.accumulate(&mut sums, codes.values(), &x, WIDTH);
            let mut plain = vec![1f32; w.len()];
            let mut e = 0;
            for r in 0..codes.rows() {
                let (indices, values) = codes.row(r);
                for (i, v) in indices.iter().zip(values) {
                    let (g, w) = (&x[r * WIDTH..][..WIDTH], &w[*i as usize * WIDTH..][..WIDTH]);
                    let dot: f32 = g.iter().zip(w).map(|(g, w)| g * w).sum();
                    assert_eq!(dots[e], dot, "every {every}");
                    e += 1;
                    let row = &mut plain[*i as usize * WIDTH..][..WIDTH];
                    row.iter_mut().zip(g).for_each(|(p, g)| *p += v * g);
                }
            }
            assert_eq!(sums, plain, "every {every}");
            let fired: usize = by.counts().sum();
            assert_eq!(fired, codes.values().len());
        }
    }
}
