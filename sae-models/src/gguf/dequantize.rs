//! Tensors of a GGUF file as floats: some blocks at a time, so that the quantised tensor is never
//! held as a whole.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::Device;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use rayon::prelude::*;
use sae_core::io::{Floats, WeightDtype};
use sae_core::ops::F32s;
use sae_core::{Error, Result};

use super::header::TensorInfo;

/// Values that one task makes from blocks; a multiple of every block's size.
const PART: usize = 1 << 16;
/// Parts that are read at once for each thread.
const PARTS_PER_THREAD: usize = 4;

/// All values of a tensor, in order.
pub(super) fn read(
    file: &mut File,
    path: &Path,
    info: &TensorInfo,
    dtype: WeightDtype,
) -> Result<Floats> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let n: usize = info.shape.iter().product();
    let part = PART / info.blocks.block_size() * info.blocks.type_size();
    let stretch = part * PARTS_PER_THREAD * rayon::current_num_threads();
    let mut values = Floats::with_capacity(dtype, n);
    file.seek(SeekFrom::Start(info.start)).map_err(io)?;
    // The header was checked: so many bytes are there, and they fit the address space.
    let mut left = usize::try_from(info.len).unwrap_or(usize::MAX);
    let mut bytes = vec![0u8; stretch.min(left)];
    while left > 0 {
        let bytes = &mut bytes[..stretch.min(left)];
        file.read_exact(bytes).map_err(io)?;
        let dequantized = |bytes: &[u8]| -> Result<Floats> {
            let n = bytes.len() / info.blocks.type_size() * info.blocks.block_size();
            let blocks = qtensor_from_ggml(info.blocks, bytes, vec![n], &Device::Cpu)?;
            let plain = blocks.dequantize(&Device::Cpu)?;
            let mut values = Floats::with_capacity(dtype, n);
            values.extend(F32s::new(&plain)?.contiguous()?.iter().copied());
            Ok(values)
        };
        let parts = bytes.par_chunks(part).map(dequantized).collect::<Result<Vec<_>>>()?;
        for part in parts {
            values.append(part)?;
        }
        left -= bytes.len();
    }
    Ok(values)
}
