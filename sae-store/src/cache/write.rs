//! Writing a cache: rows are appended to a partial file; it is renamed when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::header::{CacheInfo, HEADER_BYTES, NUMBER_BYTES, decode_header, encode};
use crate::{Error, Result};

/// A cache that is being written. A writer that is dropped, or killed, leaves the partial file; the next
/// one goes on after the rows that are safely in it.
pub struct CacheWriter {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    info: CacheInfo,
    rows: u64,
}

impl CacheWriter {
    /// Begin `path`, or go on with what an earlier writer left.
    ///
    /// # Errors
    /// The cache is there already, the partial file is of another cache, or it cannot be written.
    pub fn open(path: &Path, info: CacheInfo) -> Result<Self> {
        if path.exists() {
            let problem = "is there already; remove it to write it anew".to_owned();
            return Err(Error::BadFile { path: path.to_owned(), problem });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let io = |source| Error::Io { path: partial.clone(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&partial)
            .map_err(io)?;
        let mut head = vec![0u8; HEADER_BYTES];
        let length = file.metadata().map_err(io)?.len();
        let rows = if length >= HEADER_BYTES as u64 {
            file.read_exact(&mut head).map_err(io)?;
            left(&partial, &head, &info)?
        } else {
            0
        };
        let mut writer = Self { path: path.to_owned(), partial, file, info, rows };
        if writer.bytes() > length && writer.rows > 0 {
            let problem = format!("is shorter than the {} rows it should hold", writer.rows);
            return Err(Error::BadFile { path: writer.partial, problem });
        }
        // Rows after the last recorded one may be half written.
        let keep = writer.bytes();
        writer.io(|file| file.set_len(keep))?;
        writer.record()?;
        Ok(writer)
    }

    /// Rows that are safely written.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Append rows, `[rows, width]`; they are safe when this returns.
    ///
    /// # Errors
    /// Values that are no whole number of rows, or the disk is full.
    pub fn append(&mut self, values: &[f32]) -> Result<()> {
        if !values.len().is_multiple_of(self.info.width.max(1)) {
            let problem = format!("{} numbers for rows of {}", values.len(), self.info.width);
            return Err(Error::BadFile { path: self.partial.clone(), problem });
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let at = self.bytes();
        self.io(|file| {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&bytes)?;
            file.sync_data()
        })?;
        self.rows += (values.len() / self.info.width.max(1)) as u64;
        self.record()
    }

    /// All rows are there: the file gets its name.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn finish(self) -> Result<()> {
        let io = |source| Error::Io { path: self.path.clone(), source };
        self.file.sync_all().map_err(io)?;
        fs::rename(&self.partial, &self.path).map_err(io)
    }

    fn bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.rows * (self.info.width * NUMBER_BYTES) as u64
    }

    /// Write the header of the rows that are there.
    fn record(&mut self) -> Result<()> {
        let header = encode(&self.partial, &self.info, self.rows)?;
        self.io(|file| {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.sync_data()
        })
    }

    fn io<T>(&mut self, act: impl FnOnce(&mut File) -> std::io::Result<T>) -> Result<T> {
        act(&mut self.file).map_err(|source| Error::Io { path: self.partial.clone(), source })
    }
}

/// Rows recorded in the header of a partial file. One that was cut while it was written counts as none.
fn left(partial: &Path, head: &[u8], info: &CacheInfo) -> Result<u64> {
    // Only the header is looked at: the file behind it may be longer than it says.
    match decode_header(partial, head).ok() {
        None => Ok(0),
        Some((found, rows)) if found == *info => Ok(rows),
        Some((found, _)) => Err(Error::BadFile {
            path: partial.to_owned(),
            problem: format!(
                "was begun for `{}` of model `{}` on `{}`; remove it, or finish it as it was begun",
                found.hook, found.model, found.dataset
            ),
        }),
    }
}
