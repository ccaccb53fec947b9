//! Quantised matrices of a GGUF file, kept as integers with scales.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::quantized::GgmlDType;
use rayon::prelude::*;
use sae_core::ops::{Bits, Format, Packed, Packing};
use sae_core::{Error, Result};

use super::blocks::{Groups, groups};
use super::header::TensorInfo;

/// Values that are worth a task of their own.
const PART: usize = 1 << 16;
/// Parts that are read at once for each thread.
const PARTS_PER_THREAD: usize = 4;

/// The matrix of a tensor, or `None` where it is none or holds plain numbers.
pub(super) fn read(file: &mut File, path: &Path, info: &TensorInfo) -> Result<Option<Packed>> {
    let (Some(format), [rows, cols]) = (format(info.blocks), info.shape.as_slice()) else {
        return Ok(None);
    };
    let io = |source| Error::Io { path: path.to_owned(), source };
    // (Rows are whole blocks: the header was checked.)
    let row_bytes = cols / info.blocks.block_size() * info.blocks.type_size();
    if row_bytes == 0 {
        return Ok(None);
    }
    let part = PART.div_ceil(*cols);
    let stretch = part * PARTS_PER_THREAD * rayon::current_num_threads();
    let mut all = Packing::new(format, *cols)?;
    all.reserve(*rows);
    let mut bytes = vec![0u8; stretch.min(*rows) * row_bytes];
    file.seek(SeekFrom::Start(info.start)).map_err(io)?;
    for first in (0..*rows).step_by(stretch) {
        let bytes = &mut bytes[..stretch.min(rows - first) * row_bytes];
        file.read_exact(bytes).map_err(io)?;
        let pack = |rows: &[u8]| -> Result<Packing> {
            let mut packing = Packing::new(format, *cols)?;
            let mut made = Groups::default();
            for row in rows.chunks_exact(row_bytes) {
                made.clear();
                for block in row.chunks_exact(info.blocks.type_size()) {
                    groups(info.blocks, block, &mut made);
                }
                packing.push(&made.codes, &made.scales, &made.offsets)?;
            }
            Ok(packing)
        };
        let parts = bytes.par_chunks(part * row_bytes).map(pack).collect::<Result<Vec<_>>>()?;
        for part in &parts {
            all.append(part)?;
        }
    }
    Ok(Some(all.finish()))
}

/// A format that holds what blocks stand for exactly; `None` for plain numbers.
fn format(blocks: GgmlDType) -> Option<Format> {
    use GgmlDType as B;
    let of = |bits, group, offsets| Some(Format { bits, group, offsets });
    match blocks {
        B::Q4_0 | B::Q4_1 | B::Q4K => of(Bits::Four, 32, true),
        B::Q2K | B::Q3K => of(Bits::Four, 16, true),
        B::Q5_0 | B::Q8_0 => of(Bits::Eight, 32, false),
        B::Q5_1 | B::Q5K => of(Bits::Eight, 32, true),
        B::Q6K => of(Bits::Eight, 16, false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use candle_core::quantized::ggml_file::qtensor_from_ggml;
    use proptest::prelude::*;

    use super::*;

    /// All types that are read and are no plain numbers.
    fn quantised() -> impl Strategy<Value = GgmlDType> {
        let read = (0..64).filter_map(super::super::quantization::blocks);
        proptest::sample::select(read.filter(|b| format(*b).is_some()).collect::<Vec<_>>())
    }

    /// Where numbers of two bytes lie in a block.
    fn halves(blocks: GgmlDType) -> &'static [usize] {
        match blocks {
            GgmlDType::Q2K => &[80, 82],
            GgmlDType::Q3K => &[108],
            GgmlDType::Q6K => &[208],
            GgmlDType::Q4_0 | GgmlDType::Q5_0 | GgmlDType::Q8_0 => &[0],
            _ => &[0, 2],
        }
    }

    proptest! {
        #[test]
        fn packed_blocks_stand_for_what_candle_makes_of_them(
            blocks in quantised(),
            (rows, per_row) in (1usize..4, 1usize..4),
            random in proptest::collection::vec(any::<u8>(), 12 * 210),
        ) {
            let (size, n) = (blocks.type_size(), rows * per_row);
            let mut bytes: Vec<u8> = random.iter().copied().cycle().take(n * size).collect();
            for block in bytes.chunks_exact_mut(size) {
                for at in halves(blocks) {
                    // Any finite number: not all bits of the exponent.
                    block[at + 1] &= 0b1011_1111;
                }
            }
            let cols = per_row * blocks.block_size();
            let want = qtensor_from_ggml(blocks, &bytes, vec![rows, cols], &Device::Cpu).unwrap();
            let want = want.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &bytes).unwrap();
            let (shape, len) = (vec![rows, cols], bytes.len() as u64);
            let info = TensorInfo { blocks, shape, start: 0, len };
            let got = read(&mut file, Path::new("a file"), &info).unwrap().unwrap();
            prop_assert_eq!(got.widened().unwrap().to_vec2::<f32>().unwrap(), want, "{:?}", blocks);
        }
    }
}
