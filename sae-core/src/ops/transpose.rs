//! Transposing a matrix into memory of its own, block by block.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{F32s, is_cpu_f32};
use crate::Result;

/// Side of a block: its rows and columns stay in the cache together.
const BLOCK: usize = 32;

/// `[rows, cols] -> [cols, rows]`, both row by row.
///
/// # Panics
/// If there are fewer than `rows * cols` values.
pub fn transpose<T: Copy + Send + Sync>(values: &[T], rows: usize, cols: usize) -> Vec<T> {
    let Some(any) = values.first().filter(|_| rows * cols > 0) else { return Vec::new() };
    let mut out = vec![*any; rows * cols];
    out.par_chunks_mut(BLOCK * rows).enumerate().for_each(|(block, out)| {
        let first = block * BLOCK;
        let width = out.len() / rows;
        for top in (0..rows).step_by(BLOCK) {
            let height = BLOCK.min(rows - top);
            for row in top..top + height {
                let line = &values[row * cols + first..][..width];
                for (col, value) in line.iter().enumerate() {
                    out[col * rows + row] = *value;
                }
            }
        }
    });
    out
}

/// `[rows, cols] -> [cols, rows]`, contiguous.
///
/// # Errors
/// Not a matrix.
pub fn transposed(matrix: &Tensor) -> Result<Tensor> {
    let (rows, cols) = matrix.dims2()?;
    if !is_cpu_f32(matrix) {
        return Ok(matrix.t()?.contiguous()?);
    }
    let matrix = matrix.contiguous()?;
    let values = F32s::new(&matrix)?;
    let values = transpose(values.contiguous()?, rows, cols);
    Ok(Tensor::from_vec(values, (cols, rows), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_is_what_candle_makes_of_it() -> Result<()> {
        for (rows, cols) in
            [(1, 1), (1, 70), (70, 1), (31, 33), (64, 64), (100, 65), (0, 5), (5, 0)]
        {
            let x = Tensor::arange(0f32, (rows * cols) as f32, &Device::Cpu)?;
            let x = x.reshape((rows, cols))?;
            let (got, want) = (transposed(&x)?, x.t()?.contiguous()?);
            assert_eq!(got.dims(), want.dims());
            assert_eq!(got.flatten_all()?.to_vec1::<f32>()?, want.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(())
    }
}
