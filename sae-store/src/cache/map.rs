//! Memory-mapped files: the only `unsafe` of this crate.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// Map a finished cache. Finished caches are never changed in place by this crate: they are written under
/// another name and renamed.
pub(super) fn map(path: &Path) -> Result<Mmap> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    // SAFETY: a mapped file must not be changed while it is mapped. Nothing here changes a file that
    // has its final name; a user who overwrites one while it is read is warned in the crate's README.
    unsafe { Mmap::map(&file) }.map_err(io)
}
