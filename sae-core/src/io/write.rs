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

/// Write tensors as safetensors, whole or not at all: f64 as it is, everything else as f32.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_tensors<N: AsRef<str>>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, Tensor)>,
) -> Result<()> {
    let mut buffers = Vec::new();
    for (name, tensor) in tensors {
        let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
        let (dtype, bytes): (Dtype, Vec<u8>) = if flat.dtype() == DType::F64 {
            let values = flat.to_vec1::<f64>()?;
            (Dtype::F64, values.iter().flat_map(|v| v.to_le_bytes()).collect())
        } else {
            let values = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect())
        };
        buffers.push((name, tensor.dims().to_vec(), dtype, bytes));
    }
    let bad = |e: safetensors::SafeTensorError| Error::BadFile {
        path: path.to_owned(),
        problem: e.to_string(),
    };
    let views = buffers
        .iter()
        .map(|(name, shape, dtype, bytes)| {
            Ok((name.as_ref(), TensorView::new(*dtype, shape.clone(), bytes)?))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(bad)?;
    write_atomic(path, &safetensors::serialize(views, None).map_err(bad)?)
}
