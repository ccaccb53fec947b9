//! `TorchFile`: tensors and plain values of a file that `torch.save` wrote, read without running
//! anything.
//!
//! Both layouts are read: zip archives (torch 1.6 and later, `.pt`, `.pth`, `pytorch_model.bin`) and
//! the older one. A pickle that names anything but what builds tensors and plain data is refused.

mod entries;
mod globals;
mod object;
mod opcode;
mod pickle;
mod source;
mod storage;

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::{Map, Value};

use super::archive::Bytes;
use super::element::{Element, read_bytes};
use super::{NamedTensors, WeightDtype};
use crate::{Error, Result};
use entries::Entries;
use source::Source;
use storage::TensorRef;

const FLOATS: &str = "F32, F16, BF16 or F64";

/// An open file of torch.
///
/// A tensor is named by the keys that lead to it, joined with dots: `W_enc`, or
/// `state_dict.encoder.weight` in a checkpoint. A file that holds one bare tensor names it ``.
pub struct TorchFile {
    path: PathBuf,
    entries: Entries,
    source: Source,
}

impl TorchFile {
    /// Open a file and read its structure.
    ///
    /// # Errors
    /// The file cannot be read, is not torch's, is beyond a limit, or its pickle uses something that
    /// may run code.
    pub fn open(path: &Path) -> Result<Self> {
        let file =
            File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::new(path.to_owned(), Box::new(file))
    }

    /// A file in memory; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`TorchFile::open`].
    pub fn from_bytes(path: PathBuf, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Self> {
        Self::new(path, Box::new(Cursor::new(bytes)))
    }

    fn new(path: PathBuf, reader: Box<dyn Bytes>) -> Result<Self> {
        let (entries, source) = Source::open(reader).map_err(|problem| problem.at(&path))?;
        Ok(Self { path, entries, source })
    }

    /// What the file holds besides tensors: texts, numbers, truth values, in dictionaries and lists.
    pub fn plain(&self) -> &Map<String, Value> {
        &self.entries.plain
    }

    /// The type in which the file holds a tensor, if it is one in which weights may be kept.
    pub fn kept_as(&self, name: &str) -> Option<WeightDtype> {
        match self.entries.tensors.get(name)?.element {
            Element::F32 => Some(WeightDtype::F32),
            Element::F16 => Some(WeightDtype::F16),
            Element::BF16 => Some(WeightDtype::BF16),
            _ => None,
        }
    }

    /// Read what a tensor touches.
    fn read<T>(
        &mut self,
        name: &str,
        take: impl Fn(&TensorRef, &mut dyn Read) -> std::io::Result<T>,
    ) -> Result<(&TensorRef, T)> {
        let Self { path, entries, source } = self;
        let tensor = entries.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            path: path.clone(),
            name: name.to_owned(),
            want: Vec::new(),
        })?;
        let touched = source.read(tensor, &mut |reader| take(tensor, reader));
        Ok((tensor, touched.map_err(|problem| problem.at(path))?))
    }

    fn wrong_type(&self, name: &str, want: &'static str) -> Error {
        let got = self.entries.tensors.get(name).map_or("nothing", |t| t.element.as_str());
        let (path, name, got) = (self.path.clone(), name.to_owned(), got.to_owned());
        Error::TensorType { path, name, got, want }
    }
}

impl NamedTensors for TorchFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        self.entries.tensors.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.tensors.get(name).map(|tensor| tensor.view.shape.as_slice())
    }

    fn tensor(&mut self, name: &str) -> Result<Tensor> {
        if self.entries.tensors.get(name).is_some_and(|tensor| !tensor.element.is_float()) {
            return Err(self.wrong_type(name, FLOATS));
        }
        let (tensor, values) =
            self.read(name, |tensor, reader| tensor.element.read_f32s(reader, tensor.view.extent))?;
        let shape = tensor.view.shape.as_slice();
        Ok(Tensor::from_vec(tensor.view.gather(values), shape, &Device::Cpu)?)
    }

    fn raw(&mut self, name: &str) -> Result<Tensor> {
        let (tensor, bytes) = self.read(name, |tensor, reader| {
            let len = tensor.view.extent as u64 * tensor.element.bytes() as u64;
            read_bytes(reader, len)
        })?;
        let made = tensor.element.tensor(bytes, &tensor.view)?;
        made.ok_or_else(|| self.wrong_type(name, "F64, F32, F16, BF16, I64, I32, I16, U8 or BOOL"))
    }
}
