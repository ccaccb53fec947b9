//! `Archive`: parts of a zip file, stored or deflated, with a limit to how far they inflate.

use std::io::{self, Read, Seek, SeekFrom};

use zip::{CompressionMethod, ZipArchive};

use super::element::read_bytes;
use super::problem::{Outcome, Problem, within};

/// Parts in an archive.
const MAX_PARTS: u64 = 1 << 17;
/// A part up to this size may inflate as far as it likes.
const FREE_INFLATED_BYTES: u64 = 16 << 20;
/// How many times its compressed size a larger part may be.
const MAX_INFLATION: u64 = 100;

/// What files are read from: a file on disk, or bytes in memory.
pub(super) trait Bytes: Read + Seek + Send {}
impl<T: Read + Seek + Send> Bytes for T {}

/// A zip archive.
pub(super) struct Archive {
    zip: ZipArchive<Box<dyn Bytes>>,
    /// Length of the whole file.
    len: u64,
}

impl Archive {
    /// Read the table of contents.
    ///
    /// # Errors
    /// Not a zip file, or one with too many parts.
    pub(super) fn open(mut reader: Box<dyn Bytes>) -> Outcome<Self> {
        let len = reader.seek(SeekFrom::End(0))?;
        let zip = ZipArchive::new(reader)?;
        within("parts of an archive", zip.len() as u64, MAX_PARTS)?;
        Ok(Self { zip, len })
    }

    /// Names of the parts; a part is named by its place here.
    ///
    /// # Errors
    /// A name that cannot be read.
    pub(super) fn names(&self) -> Outcome<Vec<String>> {
        self.zip.file_names().map(|name| Ok(name?.into_owned())).collect()
    }

    /// Place of the part of that name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.zip.index_for_name(name)
    }

    /// Size of a part and whether it is stored as it is.
    ///
    /// # Errors
    /// No such part, or one that inflates too far.
    pub(super) fn size(&mut self, part: usize) -> Outcome<(u64, bool)> {
        let entry = self.zip.by_index_raw(part)?;
        let (size, packed) = (entry.size(), entry.compressed_size());
        let stored = entry.compression() == CompressionMethod::Stored;
        if entry.encrypted() {
            return Err(Problem::bad("a part of the archive is encrypted"));
        }
        if packed > self.len || (stored && size != packed) {
            return Err(Problem::bad(format!(
                "a part of {size} bytes takes {packed} bytes of an archive of {}",
                self.len
            )));
        }
        if size > FREE_INFLATED_BYTES {
            within("inflation of a part", size / packed.max(1), MAX_INFLATION)?;
        }
        Ok((size, stored))
    }

    /// A whole part.
    ///
    /// # Errors
    /// Unreadable, damaged, or larger than `limit`.
    pub(super) fn read_all(
        &mut self,
        part: usize,
        what: &'static str,
        limit: u64,
    ) -> Outcome<Vec<u8>> {
        let (size, _) = self.size(part)?;
        within(what, size, limit)?;
        self.read(part, 0, size, &mut |reader| read_bytes(reader, size))
    }

    /// What `take` makes of the beginning of a part.
    ///
    /// # Errors
    /// Unreadable, or what `take` says.
    pub(super) fn peek<T>(
        &mut self,
        part: usize,
        take: impl FnOnce(&mut dyn Read) -> Outcome<T>,
    ) -> Outcome<T> {
        take(&mut self.zip.by_index(part)?)
    }

    /// `len` bytes of a part from `skip` on, which `take` reads; a part that is read whole must
    /// have the checksum that the archive says.
    ///
    /// # Errors
    /// Unreadable, damaged, too short, or larger than the limits.
    pub(super) fn read<T>(
        &mut self,
        part: usize,
        skip: u64,
        len: u64,
        take: &mut dyn FnMut(&mut dyn Read) -> io::Result<T>,
    ) -> Outcome<T> {
        let (size, stored) = self.size(part)?;
        if skip.checked_add(len).is_none_or(|end| end > size) {
            return Err(Problem::bad(format!(
                "truncated: {len} bytes from {skip} on, in a part of {size}"
            )));
        }
        if stored && len < size {
            let mut reader = self.zip.by_index_seek(part)?;
            reader.seek(SeekFrom::Start(skip))?;
            return Ok(take(&mut reader)?);
        }
        let mut reader = self.zip.by_index(part)?;
        io::copy(&mut (&mut reader).take(skip), &mut io::sink())?;
        let taken = take(&mut reader)?;
        // The checksum is compared when the end is met.
        if skip + len == size && reader.read(&mut [0])? != 0 {
            return Err(Problem::bad("a part of the archive is longer than the archive says"));
        }
        Ok(taken)
    }
}
