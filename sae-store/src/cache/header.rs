//! The header of a cache file: what the rows are, where they came from, how many there are.

use std::path::Path;

use sae_core::hook::HookName;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// First bytes of every cache file.
pub(super) const MAGIC: &[u8; 8] = b"SAEACTS1";
/// Bytes before the first row. Fixed, so that the header can be written last.
pub(super) const HEADER_BYTES: usize = 4096;
/// Bytes of the checksum, after the magic number.
const SUM_BYTES: usize = 32;
const TEXT_AT: usize = MAGIC.len() + SUM_BYTES;
/// Bytes of one number of a row.
pub(super) const NUMBER_BYTES: usize = 4;

/// What a cache holds.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheInfo {
    /// Where the activations were taken.
    pub hook: HookName,
    /// Width of a row.
    pub width: usize,
    /// Tokens per prompt.
    pub context_size: usize,
    /// What identifies the model, its processing included.
    pub model: String,
    /// What identifies the dataset and how it became tokens.
    pub dataset: String,
}

impl CacheInfo {
    fn json(&self, rows: u64) -> Value {
        json!({
            "version": 1,
            "dtype": "F32",
            "hook": self.hook.to_string(),
            "width": self.width,
            "context_size": self.context_size,
            "model": self.model,
            "dataset": self.dataset,
            "rows": rows,
        })
    }
}

/// Header of a cache of `rows` rows.
///
/// # Errors
/// The names do not fit into a header.
pub(super) fn encode(path: &Path, info: &CacheInfo, rows: u64) -> Result<Vec<u8>> {
    let text = info.json(rows).to_string();
    if text.len() > HEADER_BYTES - TEXT_AT {
        let problem = format!("names of model and dataset need {} bytes", text.len());
        return Err(Error::BadFile { path: path.to_owned(), problem });
    }
    let mut header = vec![b' '; HEADER_BYTES];
    header[TEXT_AT..TEXT_AT + text.len()].copy_from_slice(text.as_bytes());
    let sum = Sha256::digest(&header[TEXT_AT..]);
    header[..MAGIC.len()].copy_from_slice(MAGIC);
    header[MAGIC.len()..TEXT_AT].copy_from_slice(&sum);
    Ok(header)
}

/// What `file` holds, and how many rows.
///
/// # Errors
/// Not a cache, a damaged header, or another length than the header says.
pub(super) fn decode(path: &Path, file: &[u8]) -> Result<(CacheInfo, u64)> {
    let (info, rows) = decode_header(path, file)?;
    let want = usize::try_from(rows)
        .ok()
        .and_then(|n| n.checked_mul(info.width)?.checked_mul(NUMBER_BYTES))
        .and_then(|n| n.checked_add(HEADER_BYTES));
    if want != Some(file.len()) {
        let want = want.map_or_else(|| "more".to_owned(), |n| n.to_string());
        let problem = format!("{} bytes, {rows} rows need {want}", file.len());
        return Err(Error::BadFile { path: path.to_owned(), problem });
    }
    Ok((info, rows))
}

/// What the header at the beginning of `file` says.
///
/// # Errors
/// Not a cache, or a damaged header.
pub(super) fn decode_header(path: &Path, file: &[u8]) -> Result<(CacheInfo, u64)> {
    let wrong = |problem: String| Error::BadFile { path: path.to_owned(), problem };
    if file.len() < HEADER_BYTES || &file[..MAGIC.len()] != MAGIC {
        return Err(wrong("not a cache of activations, or cut off in its header".to_owned()));
    }
    let text = &file[TEXT_AT..HEADER_BYTES];
    if Sha256::digest(text)[..] != file[MAGIC.len()..TEXT_AT] {
        return Err(wrong("the header is damaged".to_owned()));
    }
    let json: Value =
        serde_json::from_slice(text).map_err(|e| wrong(format!("the header is not JSON: {e}")))?;
    let text = |field: &str| {
        json[field].as_str().ok_or_else(|| wrong(format!("the header has no `{field}`")))
    };
    let size = |field: &str| {
        let number = json[field].as_u64().and_then(|n| usize::try_from(n).ok());
        number.ok_or_else(|| wrong(format!("the header has no `{field}`")))
    };
    if json["version"] != 1 || json["dtype"] != "F32" {
        let (version, dtype) = (&json["version"], &json["dtype"]);
        return Err(wrong(format!("version {version} of {dtype}, expected 1 of F32")));
    }
    let info = CacheInfo {
        hook: text("hook")?.parse().map_err(Error::Core)?,
        width: size("width")?,
        context_size: size("context_size")?,
        model: text("model")?.to_owned(),
        dataset: text("dataset")?.to_owned(),
    };
    let rows = size("rows")?;
    Ok((info, rows as u64))
}
