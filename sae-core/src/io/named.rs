//! `NamedTensors`: tensors of one file, by name, whatever the format.

use std::path::Path;

use candle_core::Tensor;

use super::{NumpyFile, TensorFile, TorchFile};
use crate::arch::WeightSource;
use crate::{Error, Result};

/// Tensors of one file, read one at a time straight into their own memory.
pub trait NamedTensors: Send {
    /// The file, for messages.
    fn path(&self) -> &Path;

    /// Names of the tensors.
    fn names(&self) -> Vec<String>;

    /// Shape of a tensor, if it is there.
    fn shape(&self, name: &str) -> Option<&[usize]>;

    /// A tensor as f32 on the CPU, whatever float type the file holds.
    ///
    /// # Errors
    /// Absent, of another type, or unreadable.
    fn tensor(&mut self, name: &str) -> Result<Tensor>;

    /// A tensor as stored, for the types candle has.
    ///
    /// # Errors
    /// Absent, of another type, or unreadable.
    fn raw(&mut self, name: &str) -> Result<Tensor>;
}

impl<T: NamedTensors + ?Sized> WeightSource for T {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.take_if_there(name, shape)?.ok_or_else(|| Error::MissingTensor {
            path: self.path().to_owned(),
            name: name.to_owned(),
            want: shape.to_vec(),
        })
    }

    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        match self.shape(name) {
            None => Ok(None),
            Some(got) if got != shape => Err(Error::TensorShape {
                path: self.path().to_owned(),
                name: name.to_owned(),
                got: got.to_vec(),
                want: shape.to_vec(),
            }),
            Some(_) => self.tensor(name).map(Some),
        }
    }
}

/// Open a file of tensors by its ending: `.safetensors`; `.npz`, `.npy`; `.pt`, `.pth`, `.bin`,
/// `.ckpt` (torch).
///
/// # Errors
/// Another ending, or the file is not what its ending says.
pub fn open_tensors(path: &Path) -> Result<Box<dyn NamedTensors>> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    Ok(match ending.as_deref() {
        Some("safetensors") => Box::new(TensorFile::open(path)?),
        Some("npz" | "npy") => Box::new(NumpyFile::open(path)?),
        Some("pt" | "pth" | "bin" | "ckpt") => Box::new(TorchFile::open(path)?),
        _ => {
            return Err(Error::BadFile {
                path: path.to_owned(),
                problem:
                    "tensors are read from .safetensors, .npz, .npy, .pt, .pth, .bin and .ckpt"
                        .to_owned(),
            });
        }
    })
}

impl NamedTensors for TensorFile {
    fn path(&self) -> &Path {
        self.path()
    }

    fn names(&self) -> Vec<String> {
        self.names()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.shape(name)
    }

    fn tensor(&mut self, name: &str) -> Result<Tensor> {
        self.tensor(name)
    }

    fn raw(&mut self, name: &str) -> Result<Tensor> {
        self.raw(name)
    }
}
