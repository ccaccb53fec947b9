//! Writing files whole: to a temporary name in the same folder, then renamed.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::{Error, Result};

/// Write a file so that it is there whole or not at all, also if the machine stops midway.
///
/// # Errors
/// The folder cannot be made or the file not written.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let partial = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|source| {
        // The write failed; whether its remains can be removed does not change that.
        let _ = fs::remove_file(&partial);
        io(source)
    })
}

/// Write tensors as f32 safetensors, whole or not at all.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_tensors<N: AsRef<str>>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, Tensor)>,
) -> Result<()> {
    let mut buffers = Vec::new();
    for (name, tensor) in tensors {
        let flat = tensor.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?;
        let bytes: Vec<u8> = flat.to_vec1::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect();
        buffers.push((name, tensor.dims().to_vec(), bytes));
    }
    let bad = |e: safetensors::SafeTensorError| Error::BadFile {
        path: path.to_owned(),
        problem: e.to_string(),
    };
    let views = buffers
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((name.as_ref(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(bad)?;
    write_atomic(path, &safetensors::serialize(views, None).map_err(bad)?)
}
