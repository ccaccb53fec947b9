//! `Element`: the number types of tensor files, and their values as f32.

use std::io::{self, Read};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::view::View;
use crate::Result;

/// How much is read at once: stays in the cache between checksum, conversion and copy.
const PART_BYTES: usize = 1 << 18;

/// A number type, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Element {
    /// Width of one number.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The name, for messages.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
        }
    }

    /// The type of a candle tensor that holds such numbers unchanged; truth values are 0 and 1.
    pub(super) const fn as_candle(self) -> Option<DType> {
        Some(match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::I64 => DType::I64,
            Self::I32 => DType::I32,
            Self::I16 => DType::I16,
            Self::U8 | Self::Bool => DType::U8,
            Self::I8 => return None,
        })
    }

    /// Whether [`Element::read_f32s`] can read it.
    pub(super) const fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    /// The next `count` numbers, which must be floats, as f32.
    ///
    /// # Errors
    /// The reader fails, ends too early, or the numbers are not floats.
    pub(super) fn read_f32s(self, reader: &mut dyn Read, count: usize) -> io::Result<Vec<f32>> {
        match self {
            Self::F32 => read_in_place(reader, count),
            Self::F16 => read_each(reader, count, |b: [u8; 2]| f16::from_le_bytes(b).to_f32()),
            Self::BF16 => read_each(reader, count, |b: [u8; 2]| bf16::from_le_bytes(b).to_f32()),
            #[allow(clippy::cast_possible_truncation)] // f32 is what is asked for
            Self::F64 => read_each(reader, count, |b: [u8; 8]| f64::from_le_bytes(b) as f32),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not floats")),
        }
    }

    /// The tensor that a view makes of the numbers it touches; `None` if candle has no such type.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub(super) fn tensor(self, touched: Vec<u8>, view: &View) -> Result<Option<Tensor>> {
        let Some(dtype) = self.as_candle() else { return Ok(None) };
        let bytes = match self.bytes() {
            1 => view.gather(touched),
            2 => gather::<2>(&touched, view),
            4 => gather::<4>(&touched, view),
            _ => gather::<8>(&touched, view),
        };
        Ok(Some(Tensor::from_raw_buffer(&bytes, dtype, &view.shape, &Device::Cpu)?))
    }
}

fn gather<const WIDTH: usize>(touched: &[u8], view: &View) -> Vec<u8> {
    view.gather(touched.as_chunks::<WIDTH>().0.to_vec()).into_flattened()
}

/// Straight into the memory of the values.
fn read_in_place(reader: &mut dyn Read, count: usize) -> io::Result<Vec<f32>> {
    let mut values = vec![0f32; count];
    for part in values.chunks_mut(PART_BYTES / size_of::<f32>()) {
        reader.read_exact(bytemuck::cast_slice_mut(part))?;
        if cfg!(target_endian = "big") {
            part.iter_mut().for_each(|v| *v = f32::from_bits(v.to_bits().swap_bytes()));
        }
    }
    Ok(values)
}

fn read_each<const WIDTH: usize>(
    reader: &mut dyn Read,
    count: usize,
    convert: impl Fn([u8; WIDTH]) -> f32,
) -> io::Result<Vec<f32>> {
    let mut values = Vec::with_capacity(count);
    let mut part = vec![0u8; PART_BYTES.min(count * WIDTH)];
    while values.len() < count {
        let n = (part.len() / WIDTH).min(count - values.len());
        let part = &mut part[..n * WIDTH];
        reader.read_exact(part)?;
        values.extend(part.as_chunks::<WIDTH>().0.iter().map(|b| convert(*b)));
    }
    Ok(values)
}

/// The next `len` bytes.
///
/// # Errors
/// The reader fails or ends too early.
pub(super) fn read_bytes(reader: &mut dyn Read, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(len).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
