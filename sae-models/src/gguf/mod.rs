//! GGUF: one file with configuration, tokenizer and quantised weights, as llama.cpp writes it
//! (`ggml/docs/gguf.md`).
//!
//! Everything foreign is translated here: `config` says in Hugging Face's fields what the metadata
//! say in llama.cpp's, `names` does the same for tensors, and undoes what llama.cpp's converter did
//! to them.

mod blocks;
mod config;
mod dequantize;
mod header;
mod names;
mod pack;
mod primitives;
mod quantization;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use candle_core::quantized::GgmlDType;
use sae_core::io::{Fields, Floats, Folder, WeightDtype};
use sae_core::ops::Packed;

use crate::checkpoint::Shard;
use crate::{Error, Result};
use config::Architecture;
pub(crate) use header::Header;
use header::TensorInfo;
use names::{Stored, Undo};

/// An open GGUF file.
pub(crate) struct Gguf {
    path: PathBuf,
    file: File,
    header: Header,
    architecture: Architecture,
    /// The family's `config.json`, made from the metadata.
    config: Fields,
    /// Hugging Face's tensor names to what the file holds.
    tensors: HashMap<String, Stored>,
}

impl Gguf {
    /// Open a file and read its header.
    ///
    /// # Errors
    /// Not GGUF, damaged, or of an architecture or quantisation that is not built.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |source| sae_core::Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let header = Header::read(path, &file)?;
        let architecture = config::architecture(&header)?;
        let config = config::fields(&header, architecture)?;
        let tensors = names::translate(&header, architecture, &config)?;
        Ok(Self { path: path.to_owned(), file, header, architecture, config, tensors })
    }

    /// The configuration in Hugging Face's fields.
    pub(crate) fn config(&self) -> &Fields {
        &self.config
    }

    /// What the frequencies of the rotation are divided by, where the file has such factors.
    pub(crate) fn rope_factors(&mut self) -> Result<Option<Vec<f32>>> {
        let Some(info) = self.header.tensors.get(names::ROPE_FACTORS).cloned() else {
            return Ok(None);
        };
        Ok(Some(self.values(&info, WeightDtype::F32)?.into_f32s()))
    }

    /// A tensor by its name at Hugging Face.
    fn find(&self, name: &str) -> Result<(TensorInfo, Undo)> {
        let stored = self.tensors.get(name);
        let found = stored.and_then(|s| Some((self.header.tensors.get(&s.name)?.clone(), s.undo)));
        found.ok_or_else(|| {
            let (path, name, want) = (self.path.clone(), name.to_owned(), Vec::new());
            sae_core::Error::MissingTensor { path, name, want }.into()
        })
    }

    fn values(&mut self, info: &TensorInfo, dtype: WeightDtype) -> Result<Floats> {
        Ok(dequantize::read(&mut self.file, &self.path, info, dtype)?)
    }
}

impl Shard for Gguf {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let stored = self.tensors.get(name)?;
        let mut shape = self.header.tensors.get(&stored.name)?.shape.clone();
        if stored.undo == Undo::Transposed {
            shape.reverse();
        }
        Some(shape)
    }

    fn read(&mut self, name: &str, dtype: Option<WeightDtype>) -> Result<Tensor> {
        let (info, undo) = self.find(name)?;
        let stored = match info.blocks {
            GgmlDType::F16 => WeightDtype::F16,
            GgmlDType::BF16 => WeightDtype::BF16,
            _ => WeightDtype::F32,
        };
        let tensor = self.values(&info, dtype.unwrap_or(stored))?.into_tensor(&info.shape)?;
        undo.apply(tensor)
    }

    fn packed(&mut self, name: &str) -> Result<Option<Packed>> {
        let (info, undo) = self.find(name)?;
        let Some(packed) = pack::read(&mut self.file, &self.path, &info)? else { return Ok(None) };
        undo.apply_to_rows(packed).map(Some)
    }

    fn stored_name(&self, name: &str) -> String {
        self.tensors.get(name).map_or_else(|| self.architecture.stored(name), |s| s.name.clone())
    }

    fn gains_are_whole(&self) -> bool {
        true
    }
}

/// The header of a file.
pub(crate) fn header(path: &Path) -> Result<Header> {
    let io = |source| sae_core::Error::Io { path: path.to_owned(), source };
    Ok(Header::read(path, &File::open(path).map_err(io)?)?)
}

/// The GGUF file that a folder stands for: it is one, or it holds one and no `config.json`.
///
/// # Errors
/// Several such files, of which none is named.
pub(crate) fn file_of(folder: &Folder) -> Result<Option<PathBuf>> {
    let Folder::Disk(path) = folder else { return Ok(None) };
    if is_gguf(path) && !path.is_dir() {
        return Ok(Some(path.clone()));
    }
    if folder.has("config.json") || !path.is_dir() {
        return Ok(None);
    }
    let io = |source| sae_core::Error::Io { path: path.clone(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(io)? {
        let file = entry.map_err(io)?.path();
        if is_gguf(&file) && file.is_file() {
            found.push(file);
        }
    }
    found.sort();
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(Error::SeveralGguf { path: path.clone(), files: found }),
    }
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}
