//! `Primitives`: numbers and texts of a GGUF header, none of which may promise more than the file
//! holds.

use std::io::Read;
use std::path::Path;

use sae_core::{Error, Result};

/// A reader that knows how much is left.
pub(super) struct Primitives<'a, R> {
    path: &'a Path,
    inner: R,
    left: u64,
    read: u64,
}

impl<'a, R: Read> Primitives<'a, R> {
    pub(super) fn new(path: &'a Path, inner: R, len: u64) -> Self {
        Self { path, inner, left: len, read: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.read
    }

    /// The error of a file that is not what it should be.
    pub(super) fn bad(&self, problem: String) -> Error {
        Error::BadFile { path: self.path.to_owned(), problem }
    }

    fn claim(&mut self, bytes: u64) -> Result<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                self.read += bytes;
                Ok(())
            }
            None => Err(self.bad(format!(
                "the GGUF header promises {bytes} bytes at {}, {} are left",
                self.read, self.left
            ))),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.claim(N as u64)?;
        let mut bytes = [0u8; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things to come, each of at least `least` bytes.
    pub(super) fn count(&mut self, what: &str, least: u64) -> Result<usize> {
        let n = self.u64()?;
        let fits = n.checked_mul(least).is_some_and(|bytes| bytes <= self.left);
        match usize::try_from(n) {
            Ok(n) if fits => Ok(n),
            _ => Err(self.bad(format!(
                "the GGUF header promises {n} {what}, which {} bytes cannot hold",
                self.left
            ))),
        }
    }

    /// A text; bytes that are not UTF-8 become U+FFFD, and closing zeros are dropped.
    pub(super) fn text(&mut self) -> Result<String> {
        let len = self.count("bytes of text", 1)?;
        self.claim(len as u64)?;
        let mut bytes = vec![0u8; len];
        self.fill(&mut bytes)?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        let io = |source| Error::Io { path: self.path.to_owned(), source };
        self.inner.read_exact(bytes).map_err(io)
    }
}
