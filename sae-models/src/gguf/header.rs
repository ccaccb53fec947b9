//! `Header`: metadata and places of tensors of a GGUF file, versions 2 and 3, little-endian.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::quantized::GgmlDType;
use sae_core::io::Fields;
use sae_core::{Error, Result};
use serde_json::{Map, Value};

use super::primitives::Primitives;
use super::quantization;

const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensors begin is a multiple of this, unless the metadata say otherwise.
const ALIGNMENT: u64 = 32;
/// ggml's limit.
const MAX_DIMS: u32 = 4;
/// A key, a type and a value of one byte; a name, no dimensions, a type and an offset.
const LEAST_BYTES: [u64; 2] = [8 + 4 + 1, 8 + 4 + 4 + 8];

/// What stands before the tensors.
pub(crate) struct Header {
    /// Metadata that are one value each.
    pub(crate) fields: Fields,
    /// Lists of texts.
    pub(crate) texts: HashMap<String, Vec<String>>,
    /// Lists of numbers.
    pub(crate) numbers: HashMap<String, Vec<f64>>,
    /// The tensors by their names in the file.
    pub(super) tensors: HashMap<String, TensorInfo>,
}

/// One tensor.
#[derive(Clone, Debug)]
pub(super) struct TensorInfo {
    pub(super) blocks: GgmlDType,
    /// Outermost axis first.
    pub(super) shape: Vec<usize>,
    /// Where it begins in the file.
    pub(super) start: u64,
    /// Its length in bytes.
    pub(super) len: u64,
}

impl Header {
    pub(super) fn read(path: &Path, file: &File) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let len = file.metadata().map_err(io)?.len();
        Self::parse(path, BufReader::with_capacity(1 << 18, file), len)
    }

    /// From a file's beginning; `len` is the length of all of it.
    pub(super) fn parse(path: &Path, reader: impl Read, len: u64) -> Result<Self> {
        let mut from = Primitives::new(path, reader, len);
        let magic: [u8; 4] = from.array()?;
        if magic != MAGIC {
            return Err(from.bad(format!("begins with {magic:?}, which is not GGUF")));
        }
        let version = from.u32()?;
        if !(2..=3).contains(&version) {
            return Err(from.bad(format!("GGUF version {version}, expected 2 or 3")));
        }
        let n_tensors = from.count("tensors", LEAST_BYTES[1])?;
        let n_metadata = from.count("metadata", LEAST_BYTES[0])?;
        let mut header = Self {
            fields: Fields::new(path, Map::new()),
            texts: HashMap::new(),
            numbers: HashMap::new(),
            tensors: HashMap::new(),
        };
        for _ in 0..n_metadata {
            header.metadatum(&mut from)?;
        }
        let mut infos = Vec::new();
        for _ in 0..n_tensors {
            infos.push(tensor(&mut from)?);
        }
        let alignment = header.alignment()?;
        let start = from.position().next_multiple_of(alignment);
        for (name, mut info) in infos {
            let end = start.checked_add(info.start).and_then(|at| at.checked_add(info.len));
            if end.is_none_or(|end| end > len) {
                return Err(from.bad(format!(
                    "truncated or damaged: tensor `{name}` has {} bytes at {} of the data, \
                     the file ends after {}",
                    info.len,
                    info.start,
                    len.saturating_sub(start)
                )));
            }
            info.start += start;
            if header.tensors.insert(name.clone(), info).is_some() {
                return Err(from.bad(format!("tensor `{name}` is there twice")));
            }
        }
        Ok(header)
    }

    fn alignment(&self) -> Result<u64> {
        const FIELD: &str = "general.alignment";
        match self.fields.size(FIELD)? {
            None => Ok(ALIGNMENT),
            Some(n) if n.is_power_of_two() && n <= 1 << 20 => Ok(n as u64),
            Some(_) => Err(self.fields.wrong(FIELD, "a power of two")),
        }
    }

    fn metadatum<R: Read>(&mut self, from: &mut Primitives<'_, R>) -> Result<()> {
        let key = from.text()?;
        let kind = from.u32()?;
        if kind != LIST {
            let value = scalar(from, &key, kind)?;
            self.fields.map_mut().insert(key, value);
            return Ok(());
        }
        let kind = from.u32()?;
        if kind == LIST {
            return Err(from.bad(format!("`{key}` is a list of lists, which is not read")));
        }
        let least = if kind == TEXT { 8 } else { 1 };
        let n = from.count("values", least)?;
        if kind == TEXT {
            let texts = (0..n).map(|_| from.text()).collect::<Result<_>>()?;
            self.texts.insert(key, texts);
        } else {
            let number = |value: Value| value.as_f64().unwrap_or(f64::NAN);
            let numbers = (0..n).map(|_| scalar(from, &key, kind).map(number));
            self.numbers.insert(key.clone(), numbers.collect::<Result<_>>()?);
        }
        Ok(())
    }
}

const TEXT: u32 = 8;
const LIST: u32 = 9;

fn scalar<R: Read>(from: &mut Primitives<'_, R>, key: &str, kind: u32) -> Result<Value> {
    Ok(match kind {
        0 => u8::from_le_bytes(from.array()?).into(),
        1 => i8::from_le_bytes(from.array()?).into(),
        2 => u16::from_le_bytes(from.array()?).into(),
        3 => i16::from_le_bytes(from.array()?).into(),
        4 => u32::from_le_bytes(from.array()?).into(),
        5 => i32::from_le_bytes(from.array()?).into(),
        6 => shortest(f32::from_le_bytes(from.array()?)).into(),
        7 => (from.array::<1>()? != [0]).into(),
        TEXT => from.text()?.into(),
        10 => u64::from_le_bytes(from.array()?).into(),
        11 => i64::from_le_bytes(from.array()?).into(),
        12 => f64::from_le_bytes(from.array()?).into(),
        _ => return Err(from.bad(format!("`{key}` has a value of unknown type {kind}"))),
    })
}

/// The number of the fewest digits that is this one in f32: 1e-5 comes back as 1e-5.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Name and place; the place counts from the beginning of the data.
fn tensor<R: Read>(from: &mut Primitives<'_, R>) -> Result<(String, TensorInfo)> {
    let name = from.text()?;
    let n_dims = from.u32()?;
    if n_dims > MAX_DIMS {
        return Err(from.bad(format!("tensor `{name}` has {n_dims} axes, expected at most 4")));
    }
    let mut shape = Vec::new();
    for _ in 0..n_dims {
        shape.push(from.u64()?);
    }
    let number = from.u32()?;
    let start = from.u64()?;
    let Some(blocks) = quantization::blocks(number) else {
        return Err(from.bad(format!(
            "tensor `{name}` is {}, expected {}",
            quantization::name(number),
            quantization::READ
        )));
    };
    // Blocks lie along the innermost axis, which comes first.
    let (per_block, bytes) = (blocks.block_size() as u64, blocks.type_size() as u64);
    if !shape.first().copied().unwrap_or(1).is_multiple_of(per_block) {
        return Err(from.bad(format!(
            "tensor `{name}` has {shape:?} values, which are no blocks of {per_block}"
        )));
    }
    let values = shape.iter().try_fold(1u64, |n, axis| n.checked_mul(*axis));
    let len = values.and_then(|n| (n / per_block).checked_mul(bytes));
    let shape = shape.into_iter().rev().map(usize::try_from).collect::<Result<Vec<_>, _>>();
    let (Some(len), Ok(shape)) = (len, shape) else {
        return Err(from.bad(format!("tensor `{name}` is larger than any file")));
    };
    Ok((name, TensorInfo { blocks, shape, start, len }))
}
