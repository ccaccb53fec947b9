//! `W_dec` whose directions are as orthogonal as they can be (SAELens' `decoder_orthogonal_init`).

use faer::Mat;
use rand::distr::Distribution;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Draw `rows` x `cols` values of which the rows or the columns, whichever are fewer, are orthonormal:
/// the QR decomposition of normal numbers, each column of Q with the sign that makes R's diagonal
/// positive, as in `torch.nn.init.orthogonal_`.
#[allow(clippy::cast_possible_truncation)] // rounding is meant
pub(crate) fn draw(values: &mut [f32], cols: usize, rng: &mut ChaCha8Rng) {
    let rows = values.len() / cols.max(1);
    let (long, short) = (rows.max(cols), rows.min(cols));
    let normal = Mat::<f64>::from_fn(long, short, |_, _| StandardNormal.sample(rng));
    let qr = normal.qr();
    let (q, r) = (qr.compute_thin_Q(), qr.thin_R());
    for (row, values) in values.chunks_exact_mut(cols.max(1)).enumerate() {
        for (col, value) in values.iter_mut().enumerate() {
            let (i, j) = if rows >= cols { (row, col) } else { (col, row) };
            *value = (q[(i, j)] * r[(j, j)].signum()) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn the_fewer_directions_are_orthonormal() {
        for (rows, cols) in [(12, 5), (5, 12), (6, 6)] {
            let mut values = vec![0f32; rows * cols];
            draw(&mut values, cols, &mut ChaCha8Rng::seed_from_u64(3));
            let at = |i: usize, k: usize| match rows >= cols {
                true => values[k * cols + i],
                false => values[i * cols + k],
            };
            for i in 0..rows.min(cols) {
                for j in 0..rows.min(cols) {
                    let dot: f32 = (0..rows.max(cols)).map(|k| at(i, k) * at(j, k)).sum();
                    let want = if i == j { 1.0 } else { 0.0 };
                    assert!((dot - want).abs() < 1e-5, "{rows}x{cols}: {i} and {j}: {dot}");
                }
            }
        }
    }
}
