//! Principal components of what a few features write: the shape that they span.
//!
//! The reconstructions of `F` features lie in the span of `F` decoder rows, so the components are found
//! in that space: an orthonormal basis, and the eigenvectors of an `F x F` matrix, in f64.

use sae_core::sae::{Codes, Sae};
use sae_core::{Error, Result};

/// Rotations over all pairs, at most.
const SWEEPS: usize = 64;

/// Principal components, strongest first. The entry of each with the largest absolute value is positive.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Pca {
    /// The rows that count: those on which any of the features is active.
    pub rows: Vec<usize>,
    /// Mean of the reconstructions, `[d_model]`.
    pub mean: Vec<f64>,
    /// `[components][d_model]`, each of norm 1.
    pub components: Vec<Vec<f64>>,
    /// Coordinates of each row, `[rows][components]`.
    pub embedding: Vec<Vec<f64>>,
    /// Variance along each component (`n - 1` in the denominator).
    pub explained_variance: Vec<f64>,
    /// Its share of all variance.
    pub explained_variance_ratio: Vec<f64>,
    /// Singular values of the centred reconstructions.
    pub singular_values: Vec<f64>,
}

/// `acts[rows, features] W_dec[features]` `[rows][d_model]`, and the rows on which any of the features is
/// active.
///
/// # Errors
/// A feature that the SAE does not have.
pub fn reconstructions(
    sae: &dyn Sae,
    codes: &Codes,
    features: &[usize],
) -> Result<(Vec<usize>, Vec<Vec<f64>>)> {
    let decoder = decoder_rows(sae, features)?;
    let (mut rows, mut found) = (Vec::new(), Vec::new());
    for row in 0..codes.rows() {
        let (indices, values) = codes.row(row);
        let mut sum = vec![0f64; decoder.first().map_or(0, Vec::len)];
        let mut active = false;
        for (index, value) in indices.iter().zip(values).filter(|(_, v)| **v != 0.0) {
            if let Some(at) = features.iter().position(|f| *f == *index as usize) {
                active = true;
                sum.iter_mut().zip(&decoder[at]).for_each(|(s, w)| *s += f64::from(*value) * w);
            }
        }
        if active {
            rows.push(row);
            found.push(sum);
        }
    }
    Ok((rows, found))
}

/// The first `n` principal components of what `features` write on the rows of `codes`.
///
/// # Errors
/// A feature that the SAE does not have, or fewer than two rows on which any is active.
#[allow(clippy::cast_precision_loss)]
pub fn pca(sae: &dyn Sae, codes: &Codes, features: &[usize], n: usize) -> Result<Pca> {
    let (rows, points) = reconstructions(sae, codes, features)?;
    if rows.len() < 2 {
        let want = "at least 2 rows on which one of the features is active".to_owned();
        return Err(Error::InputShape { what: "the data", got: vec![rows.len()], want });
    }
    let basis = orthonormal(decoder_rows(sae, features)?);
    let count = points.len() as f64;
    let width = points[0].len();
    let mut mean = vec![0f64; width];
    points.iter().for_each(|p| add(&mut mean, p, 1.0 / count));
    // Centred points in the basis, and their scatter.
    let coordinates: Vec<Vec<f64>> = points
        .iter()
        .map(|p| {
            let centred: Vec<f64> = p.iter().zip(&mean).map(|(x, m)| x - m).collect();
            basis.iter().map(|b| dot(b, &centred)).collect()
        })
        .collect();
    let rank = basis.len();
    let mut scatter = vec![vec![0f64; rank]; rank];
    for c in &coordinates {
        for (i, row) in scatter.iter_mut().enumerate() {
            add(row, c, c[i]);
        }
    }
    let total: f64 = (0..rank).map(|i| scatter[i][i]).sum();
    let mut pairs = eigen(scatter);
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs.truncate(n);
    let mut found = Pca {
        rows,
        mean,
        components: Vec::new(),
        embedding: vec![Vec::new(); coordinates.len()],
        explained_variance: Vec::new(),
        explained_variance_ratio: Vec::new(),
        singular_values: Vec::new(),
    };
    for (value, vector) in pairs {
        let mut component = vec![0f64; width];
        vector.iter().zip(&basis).for_each(|(v, b)| add(&mut component, b, *v));
        let largest = component.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
        let sign = if largest.is_some_and(|l| l < 0.0) { -1.0 } else { 1.0 };
        component.iter_mut().for_each(|c| *c *= sign);
        for (row, c) in found.embedding.iter_mut().zip(&coordinates) {
            row.push(sign * dot(&vector, c));
        }
        let value = value.max(0.0);
        found.components.push(component);
        found.explained_variance.push(value / (count - 1.0));
        found.explained_variance_ratio.push(value / total);
        found.singular_values.push(value.sqrt());
    }
    Ok(found)
}

fn decoder_rows(sae: &dyn Sae, features: &[usize]) -> Result<Vec<Vec<f64>>> {
    let d_sae = sae.spec().d_sae;
    let row = |&feature: &usize| {
        if feature >= d_sae {
            return Err(Error::FeatureOutOfRange { feature, d_sae });
        }
        let row = sae.decoder().get(feature)?.to_vec1::<f32>()?;
        Ok(row.into_iter().map(f64::from).collect())
    };
    features.iter().map(row).collect()
}

/// An orthonormal basis of the span (modified Gram-Schmidt, twice).
fn orthonormal(vectors: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for mut v in vectors {
        let before = dot(&v, &v).sqrt();
        for _ in 0..2 {
            for b in &basis {
                let along = dot(&v, b);
                add(&mut v, b, -along);
            }
        }
        let norm = dot(&v, &v).sqrt();
        if norm > 1e-12 * before.max(f64::MIN_POSITIVE) {
            v.iter_mut().for_each(|x| *x /= norm);
            basis.push(v);
        }
    }
    basis
}

/// Eigenvalues and vectors of a symmetric matrix, by Jacobi's rotations.
fn eigen(mut a: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let n = a.len();
    let mut vectors: Vec<Vec<f64>> =
        (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for _ in 0..SWEEPS {
        let off: f64 =
            (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j].powi(2)).sum();
        let diagonal: f64 = (0..n).map(|i| a[i][i].powi(2)).sum();
        if off <= 1e-30 * diagonal {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut a, &mut vectors, p, q);
            }
        }
    }
    // Row i of `vectors` is the i-th eigenvector.
    (0..n).map(|i| (a[i][i], vectors[i].clone())).collect()
}

/// Make `a[p][q]` zero.
fn rotate(a: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) {
    if a[p][q] == 0.0 {
        return;
    }
    let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let t = if theta == 0.0 { 1.0 } else { t };
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    for row in a.iter_mut() {
        let (x, y) = (row[p], row[q]);
        row[p] = c * x - s * y;
        row[q] = s * x + c * y;
    }
    for matrix in [a, vectors] {
        for k in 0..matrix[p].len() {
            let (x, y) = (matrix[p][k], matrix[q][k]);
            matrix[p][k] = c * x - s * y;
            matrix[q][k] = s * x + c * y;
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], from: &[f64], factor: f64) {
    to.iter_mut().zip(from).for_each(|(t, f)| *t += factor * f);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_are_kept_in_direction_by_the_matrix() {
        let a = vec![vec![4.0, 1.0, 0.5], vec![1.0, 3.0, -1.0], vec![0.5, -1.0, 2.0]];
        for (value, vector) in eigen(a.clone()) {
            assert!((dot(&vector, &vector) - 1.0).abs() < 1e-12);
            for (row, v) in a.iter().zip(&vector) {
                assert!((dot(row, &vector) - value * v).abs() < 1e-10);
            }
        }
    }
}
