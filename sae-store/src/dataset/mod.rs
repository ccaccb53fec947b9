//! Datasets: documents from plain text, JSON lines and parquet, by column.
//!
//! JSON lines and parquet are streamed: a line, or a page of the column, is in memory at a time. A plain
//! text is one document, and read whole.

mod parquet;

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use crate::tokens::Documents;
use crate::{Error, Result};

/// Columns of token ids, then of text, in the order in which SAELens looks for them.
const TOKENS: [&str; 2] = ["tokens", "input_ids"];
const TEXTS: [&str; 2] = ["text", "problem"];

/// A document as it lies in the dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Text, to be tokenised.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// Where the bytes are.
#[derive(Clone, Debug)]
enum Content {
    Disk,
    Memory(Bytes),
}

/// How documents lie in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// The whole file is one document.
    Plain,
    /// One JSON object per line.
    JsonLines,
    Parquet,
}

/// A file of documents.
#[derive(Clone, Debug)]
pub struct Dataset {
    path: PathBuf,
    content: Content,
    format: Format,
    column: Option<String>,
}

/// Documents one after another.
pub type Stream = Box<dyn Iterator<Item = Result<Document>> + Send>;

impl Dataset {
    /// A file on disk: `.txt`, `.jsonl` or `.parquet`.
    ///
    /// # Errors
    /// Another ending.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let format = format_of(&path)?;
        Ok(Self { path, content: Content::Disk, format, column: None })
    }

    /// A file that is in memory; `name` says what it is.
    ///
    /// # Errors
    /// A name with another ending than [`Dataset::open`] takes.
    pub fn in_memory(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let path = PathBuf::from(name);
        let format = format_of(&path)?;
        let content = Content::Memory(Bytes::from_static(bytes));
        Ok(Self { path, content, format, column: None })
    }

    /// Read this column instead of the first that is known (`tokens`, `input_ids`, `text`, `problem`).
    #[must_use]
    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }

    /// The file's name, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The documents, from the beginning.
    ///
    /// # Errors
    /// The file cannot be read, or has no such column.
    pub fn documents(&self) -> Result<Stream> {
        match self.format {
            Format::Plain => {
                let mut text = String::new();
                self.reader()?.read_to_string(&mut text).map_err(|e| self.io(e))?;
                Ok(Box::new(std::iter::once(Ok(Document::Text(text)))))
            }
            Format::JsonLines => self.json_lines(),
            Format::Parquet => match &self.content {
                Content::Memory(bytes) => parquet::documents(self, bytes.clone()),
                Content::Disk => {
                    parquet::documents(self, File::open(&self.path).map_err(|e| self.io(e))?)
                }
            },
        }
    }

    /// Whether documents are token ids already, by the first one; an empty dataset is taken for text.
    ///
    /// # Errors
    /// As [`Dataset::documents`].
    pub fn is_tokenized(&self) -> Result<bool> {
        let first = self.documents()?.next().transpose()?;
        Ok(matches!(first, Some(Document::Tokens(_))))
    }

    /// The documents as token ids; `tokenize` gets those that are text.
    ///
    /// # Errors
    /// As [`Dataset::documents`]; a text that cannot be tokenised is an error of its document.
    pub fn tokens<E: std::fmt::Display>(
        &self,
        tokenize: impl Fn(&str) -> std::result::Result<Vec<u32>, E> + Send + 'static,
    ) -> Result<Documents> {
        let documents = self.documents()?.enumerate();
        Ok(Box::new(documents.map(move |(document, found)| match found? {
            Document::Tokens(ids) => Ok(ids),
            Document::Text(text) => {
                tokenize(&text).map_err(|e| Error::Tokenize { document, problem: e.to_string() })
            }
        })))
    }

    fn io(&self, source: std::io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }

    fn wrong(&self, problem: impl std::fmt::Display) -> Error {
        Error::BadFile { path: self.path.clone(), problem: problem.to_string() }
    }

    fn reader(&self) -> Result<Box<dyn Read + Send>> {
        Ok(match &self.content {
            Content::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
            Content::Disk => Box::new(File::open(&self.path).map_err(|e| self.io(e))?),
        })
    }

    fn json_lines(&self) -> Result<Stream> {
        let lines = BufReader::new(self.reader()?).lines();
        let this = self.clone();
        let parse = move |(number, line): (usize, std::io::Result<String>)| {
            let line = line.map_err(|e| this.io(e))?;
            if line.trim().is_empty() {
                return Ok(None);
            }
            let at = format!("line {}", number + 1);
            let value: Value =
                serde_json::from_str(&line).map_err(|e| this.wrong(format!("{at}: {e}")))?;
            let object = value.as_object().ok_or_else(|| this.wrong(format!("{at}: no object")))?;
            let there: Vec<String> = object.keys().cloned().collect();
            let column = this.choose(&there)?;
            document(&object[&column]).map(Some).ok_or_else(|| {
                this.wrong(format!("{at}: `{column}` is neither text nor token ids"))
            })
        };
        Ok(Box::new(lines.enumerate().map(parse).filter_map(Result::transpose)))
    }

    /// The column to read of those that are there.
    fn choose(&self, there: &[String]) -> Result<String> {
        let known = TOKENS.iter().chain(&TEXTS).copied();
        let found = match &self.column {
            Some(column) => there.iter().find(|t| *t == column),
            None => known.clone().find_map(|k| there.iter().find(|t| *t == k)),
        };
        found.cloned().ok_or_else(|| Error::NoColumn {
            path: self.path.clone(),
            column: self.column.clone().unwrap_or_else(|| known.collect::<Vec<_>>().join("` or `")),
            there: there.to_vec(),
        })
    }
}

fn format_of(path: &Path) -> Result<Format> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("txt") => Ok(Format::Plain),
        Some("jsonl" | "ndjson") => Ok(Format::JsonLines),
        Some("parquet") => Ok(Format::Parquet),
        _ => Err(Error::BadFile {
            path: path.to_owned(),
            problem: "is no dataset that can be read, expected .txt, .jsonl or .parquet".to_owned(),
        }),
    }
}

fn document(value: &Value) -> Option<Document> {
    match value {
        Value::String(text) => Some(Document::Text(text.clone())),
        Value::Array(ids) => ids
            .iter()
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<_>>()
            .map(Document::Tokens),
        _ => None,
    }
}
