//! `TensorFile`: tensors of one safetensors file, read one at a time.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::{Floats, WeightDtype};
use crate::{Error, Result};

/// Longest header that is read; the limit of the format.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// An open safetensors file.
///
/// Tensors are read one by one straight into their own memory, so that loading a model never holds
/// the file and the tensors at once.
pub struct TensorFile {
    path: PathBuf,
    metadata: Metadata,
    data: Data,
}

enum Data {
    File { file: File, start: u64 },
    Bytes { bytes: Cow<'static, [u8]>, start: usize },
}

impl TensorFile {
    /// Open a file and read its header.
    ///
    /// # Errors
    /// The file cannot be read, is not safetensors, or is shorter than its header says.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let bad = |problem: String| Error::BadFile { path: path.to_owned(), problem };
        let mut file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let mut size = [0u8; 8];
        if len < 8 {
            return Err(bad(format!("{len} bytes are too few for a safetensors header")));
        }
        file.read_exact(&mut size).map_err(io)?;
        let header = u64::from_le_bytes(size);
        if header > MAX_HEADER_BYTES || header > len - 8 {
            return Err(bad(format!("a header of {header} bytes in a file of {len}")));
        }
        let mut buffer = Vec::new();
        (&mut file).take(header).read_to_end(&mut buffer).map_err(io)?;
        let metadata = parse_header(path, &buffer)?;
        let start = 8 + header;
        let this = Self { path: path.to_owned(), metadata, data: Data::File { file, start } };
        this.check_length(len - start)?;
        Ok(this)
    }

    /// Tensors from memory; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn from_bytes(path: PathBuf, bytes: Cow<'static, [u8]>) -> Result<Self> {
        let bad =
            |problem: &str| Error::BadFile { path: path.clone(), problem: problem.to_owned() };
        let size = bytes.first_chunk::<8>().ok_or_else(|| bad("too short for a header"))?;
        let header = usize::try_from(u64::from_le_bytes(*size)).unwrap_or(usize::MAX);
        let start = header.saturating_add(8);
        let header = bytes.get(8..start).ok_or_else(|| bad("shorter than its header"))?;
        let metadata = parse_header(&path, header)?;
        let len = (bytes.len() - start) as u64;
        let this = Self { path, metadata, data: Data::Bytes { bytes, start } };
        this.check_length(len)?;
        Ok(this)
    }

    fn check_length(&self, got: u64) -> Result<()> {
        let want = self.metadata.data_len() as u64;
        if got == want {
            return Ok(());
        }
        let problem =
            format!("truncated or damaged: {got} bytes of tensors, the header says {want}");
        Err(Error::BadFile { path: self.path.clone(), problem })
    }

    /// The file, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// The type in which the file holds a tensor, if it is one in which weights may be kept.
    pub fn kept_as(&self, name: &str) -> Option<WeightDtype> {
        match self.metadata.info(name)?.dtype {
            Dtype::F32 => Some(WeightDtype::F32),
            Dtype::F16 => Some(WeightDtype::F16),
            Dtype::BF16 => Some(WeightDtype::BF16),
            _ => None,
        }
    }

    /// The values of a tensor as f32, whatever float type the file holds.
    ///
    /// # Errors
    /// Absent, of another type, or unreadable.
    pub fn f32s(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(self.floats(name, WeightDtype::F32)?.into_f32s())
    }

    /// Values of any float type, kept as `dtype`.
    fn floats(&mut self, name: &str, dtype: WeightDtype) -> Result<Floats> {
        let (stored, from, to) = self.place(name)?;
        let width = match stored {
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
            _ => {
                return Err(Error::TensorType {
                    path: self.path.clone(),
                    name: name.to_owned(),
                    got: stored.to_string(),
                    want: "F32, F16, BF16 or F64",
                });
            }
        };
        let mut values = Floats::with_capacity(dtype, (to - from) / width);
        self.read(from, to, |bytes| match stored {
            Dtype::F16 => values.extend_f16(chunks(bytes).map(f16::from_le_bytes)),
            Dtype::BF16 => values.extend_bf16(chunks(bytes).map(bf16::from_le_bytes)),
            Dtype::F32 => values.extend(chunks(bytes).map(f32::from_le_bytes)),
            #[allow(clippy::cast_possible_truncation)] // f32 is what is asked for
            _ => values.extend(chunks(bytes).map(|b| f64::from_le_bytes(b) as f32)),
        })?;
        Ok(values)
    }

    /// A tensor as f32 on the CPU.
    ///
    /// # Errors
    /// As [`TensorFile::f32s`].
    pub fn tensor(&mut self, name: &str) -> Result<Tensor> {
        self.tensor_as(name, WeightDtype::F32)
    }

    /// A tensor on the CPU, in the type in which it is to be kept; never held in another one.
    ///
    /// # Errors
    /// As [`TensorFile::f32s`].
    pub fn tensor_as(&mut self, name: &str, dtype: WeightDtype) -> Result<Tensor> {
        let values = self.floats(name, dtype)?;
        values.into_tensor(self.shape(name).unwrap_or_default())
    }

    /// A tensor as stored, for the types candle has: floats, u8, u32, i64.
    ///
    /// # Errors
    /// Absent, of another type, or unreadable.
    pub fn raw(&mut self, name: &str) -> Result<Tensor> {
        let (dtype, from, to) = self.place(name)?;
        let mut bytes = Vec::with_capacity(to - from);
        self.read(from, to, |part| bytes.extend_from_slice(part))?;
        let shape = self.shape(name).unwrap_or_default().to_vec();
        let as_is = match dtype {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::U8 => DType::U8,
            Dtype::U32 => DType::U32,
            Dtype::I64 => DType::I64,
            other => {
                return Err(Error::TensorType {
                    path: self.path.clone(),
                    name: name.to_owned(),
                    got: other.to_string(),
                    want: "F32, F64, F16, BF16, U8, U32 or I64",
                });
            }
        };
        Ok(Tensor::from_raw_buffer(&bytes, as_is, &shape, &Device::Cpu)?)
    }

    /// Type and extent of a tensor, in bytes from the end of the header.
    fn place(&self, name: &str) -> Result<(Dtype, usize, usize)> {
        let info = self.metadata.info(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            name: name.to_owned(),
            want: Vec::new(),
        })?;
        let (from, to) = info.data_offsets;
        Ok((info.dtype, from, to))
    }

    /// Pass the bytes `from..to` to `take`, part by part: parts end at multiples of 8 bytes.
    fn read(&mut self, from: usize, to: usize, mut take: impl FnMut(&[u8])) -> Result<()> {
        const PART_BYTES: usize = 1 << 18;
        match &mut self.data {
            Data::Bytes { bytes, start } => take(&bytes[*start + from..*start + to]),
            Data::File { file, start } => {
                let io = |source| Error::Io { path: self.path.clone(), source };
                let mut buffer = vec![0u8; PART_BYTES.min(to - from)];
                file.seek(SeekFrom::Start(*start + from as u64)).map_err(io)?;
                let mut at = from;
                while at < to {
                    let part = &mut buffer[..PART_BYTES.min(to - at)];
                    file.read_exact(part).map_err(io)?;
                    take(part);
                    at += part.len();
                }
            }
        }
        Ok(())
    }
}

fn parse_header(path: &Path, header: &[u8]) -> Result<Metadata> {
    serde_json::from_slice(header).map_err(|e| Error::BadFile {
        path: path.to_owned(),
        problem: format!("not a safetensors header: {e}"),
    })
}

fn chunks<const WIDTH: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; WIDTH]> {
    bytes.as_chunks().0.iter().copied()
}
