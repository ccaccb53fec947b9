//! `NumpyFile`: arrays of an `.npz` archive, or the one array of an `.npy` file.

mod header;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};

use super::NamedTensors;
use super::archive::{Archive, Bytes};
use super::element::{Element, read_bytes};
use super::problem::{Outcome, Problem};
use super::view::View;
use crate::{Error, Result};
use header::Header;

/// Name of the one array of an `.npy` file: what `numpy.savez` calls an array without a name.
const UNNAMED: &str = "arr_0";
const ZIP_MAGIC: &[u8] = b"PK";
const FLOATS: &str = "F32, F16 or F64";

/// An open file of numpy arrays, stored or deflated, in C's or Fortran's order.
pub struct NumpyFile {
    path: PathBuf,
    arrays: BTreeMap<String, Array>,
    data: Data,
}

struct Array {
    /// Which part of the archive.
    part: usize,
    element: Element,
    view: View,
    /// Where the numbers begin in that part.
    start: u64,
}

enum Data {
    Archive(Archive),
    Single(Box<dyn Bytes>),
}

impl NumpyFile {
    /// Open a file and read the headers of its arrays.
    ///
    /// # Errors
    /// The file cannot be read, is not numpy's, holds arrays of types that are not read, or is
    /// beyond a limit.
    pub fn open(path: &Path) -> Result<Self> {
        let file =
            File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::new(path.to_owned(), Box::new(file))
    }

    /// Arrays from memory; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`NumpyFile::open`].
    pub fn from_bytes(path: PathBuf, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Self> {
        Self::new(path, Box::new(Cursor::new(bytes)))
    }

    fn new(path: PathBuf, mut reader: Box<dyn Bytes>) -> Result<Self> {
        let read = || -> Outcome<_> {
            let mut magic = Vec::new();
            (&mut reader).take(2).read_to_end(&mut magic)?;
            reader.rewind()?;
            if magic == ZIP_MAGIC { arrays_of_zip(reader) } else { array_of_npy(reader) }
        };
        let (arrays, data) = read().map_err(|problem| problem.at(&path))?;
        Ok(Self { path, arrays, data })
    }

    fn array(&self, name: &str) -> Result<&Array> {
        self.arrays.get(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            name: name.to_owned(),
            want: Vec::new(),
        })
    }
}

fn arrays_of_zip(reader: Box<dyn Bytes>) -> Outcome<(BTreeMap<String, Array>, Data)> {
    const ENDING: &str = ".npy";
    let mut archive = Archive::open(reader)?;
    let mut arrays = BTreeMap::new();
    for (part, name) in archive.names()?.into_iter().enumerate() {
        let Some(name) = name.strip_suffix(ENDING) else { continue };
        let named = |problem| match problem {
            Problem::Bad(problem) => Problem::Bad(format!("array `{name}`: {problem}")),
            other => other,
        };
        let (bytes, _) = archive.size(part).map_err(named)?;
        let header = archive.peek(part, Header::read).map_err(named)?;
        let array = Array::new(part, header, bytes).map_err(named)?;
        arrays.insert(name.to_owned(), array);
    }
    Ok((arrays, Data::Archive(archive)))
}

fn array_of_npy(mut reader: Box<dyn Bytes>) -> Outcome<(BTreeMap<String, Array>, Data)> {
    let bytes = reader.seek(SeekFrom::End(0))?;
    reader.rewind()?;
    let array = Array::new(0, Header::read(&mut BufReader::new(&mut reader))?, bytes)?;
    Ok((BTreeMap::from([(UNNAMED.to_owned(), array)]), Data::Single(reader)))
}

impl Array {
    /// The array of a part that is `bytes` long.
    fn new(part: usize, header: Header, bytes: u64) -> Outcome<Self> {
        let Header { element, fortran_order, shape, bytes: start } = header;
        let left = bytes.saturating_sub(start) / element.bytes() as u64;
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let view = match fortran_order {
            true => View::column_major(shape, left)?,
            false => View::row_major(shape, left)?,
        };
        let want = start + (view.count() * element.bytes()) as u64;
        if bytes != want {
            let problem = format!("truncated or damaged: {bytes} bytes, the header says {want}");
            return Err(Problem::Bad(problem));
        }
        Ok(Self { part, element, view, start })
    }
}

impl Data {
    fn read<T>(
        &mut self,
        array: &Array,
        take: &mut dyn FnMut(&mut dyn Read) -> std::io::Result<T>,
    ) -> Outcome<T> {
        match self {
            Self::Archive(archive) => {
                let (size, _) = archive.size(array.part)?;
                // Read from the header on, so that the checksum is compared.
                archive.read(array.part, 0, size, &mut |reader| {
                    std::io::copy(&mut reader.take(array.start), &mut std::io::sink())?;
                    take(reader)
                })
            }
            Self::Single(reader) => {
                reader.seek(SeekFrom::Start(array.start))?;
                Ok(take(reader)?)
            }
        }
    }
}

impl NamedTensors for NumpyFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> Vec<String> {
        self.arrays.keys().cloned().collect()
    }

    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.arrays.get(name).map(|array| array.view.shape.as_slice())
    }

    fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let array = self.array(name)?;
        if !array.element.is_float() {
            return Err(Error::TensorType {
                path: self.path.clone(),
                name: name.to_owned(),
                got: array.element.as_str().to_owned(),
                want: FLOATS,
            });
        }
        let array = &self.arrays[name];
        let (element, count) = (array.element, array.view.count());
        let values = self.data.read(array, &mut |reader| element.read_f32s(reader, count));
        let values = values.map_err(|problem| problem.at(&self.path))?;
        let shape = array.view.shape.as_slice();
        Ok(Tensor::from_vec(array.view.gather(values), shape, &Device::Cpu)?)
    }

    fn raw(&mut self, name: &str) -> Result<Tensor> {
        self.array(name)?;
        let array = &self.arrays[name];
        let count = array.view.count() as u64 * array.element.bytes() as u64;
        let bytes = self.data.read(array, &mut |reader| read_bytes(reader, count));
        let bytes = bytes.map_err(|problem| problem.at(&self.path))?;
        array.element.tensor(bytes, &array.view)?.ok_or_else(|| Error::TensorType {
            path: self.path.clone(),
            name: name.to_owned(),
            got: array.element.as_str().to_owned(),
            want: "F64, F32, F16, I64, I32, I16, U8 or BOOL",
        })
    }
}
