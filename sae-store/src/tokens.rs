//! `TokenRows`: rows of token ids of one length, as often as they are wanted.

use crate::Result;
use crate::pack::{PackOptions, Packer};

/// A stream of token rows that can begin again.
pub trait TokenRows: Send {
    /// Tokens per row.
    fn context_size(&self) -> usize;

    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// The data cannot be read.
    fn next_row(&mut self) -> Result<Option<Vec<u32>>>;

    /// Begin again.
    ///
    /// # Errors
    /// The data cannot be read.
    fn rewind(&mut self) -> Result<()>;
}

/// A stream of documents as token ids.
pub type Documents = Box<dyn Iterator<Item = Result<Vec<u32>>> + Send>;

/// Documents packed into rows by SAELens' rules; `open` gives the documents from the beginning.
pub struct Packed<F> {
    open: F,
    options: PackOptions,
    packer: Packer<Failing>,
}

/// Documents up to the first failure, which is kept for whoever asks next.
struct Failing {
    documents: Documents,
    failure: Option<crate::Error>,
}

impl Iterator for Failing {
    type Item = Vec<u32>;

    fn next(&mut self) -> Option<Vec<u32>> {
        match self.documents.next()? {
            Ok(document) => Some(document),
            Err(e) => {
                self.failure = Some(e);
                None
            }
        }
    }
}

impl<F: FnMut() -> Result<Documents>> Packed<F> {
    /// Rows of `options.context_size` tokens.
    ///
    /// # Errors
    /// The documents cannot be opened, or the context holds no token of a document.
    pub fn new(mut open: F, options: PackOptions) -> Result<Self> {
        let packer = packer(open()?, options)?;
        Ok(Self { open, options, packer })
    }
}

fn packer(documents: Documents, options: PackOptions) -> Result<Packer<Failing>> {
    Ok(Packer::new(Failing { documents, failure: None }, options)?)
}

impl<T: TokenRows + ?Sized> TokenRows for Box<T> {
    fn context_size(&self) -> usize {
        (**self).context_size()
    }

    fn next_row(&mut self) -> Result<Option<Vec<u32>>> {
        (**self).next_row()
    }

    fn rewind(&mut self) -> Result<()> {
        (**self).rewind()
    }
}

impl<F: FnMut() -> Result<Documents> + Send> TokenRows for Packed<F> {
    fn context_size(&self) -> usize {
        self.options.context_size
    }

    fn next_row(&mut self) -> Result<Option<Vec<u32>>> {
        let row = self.packer.next();
        match self.packer.documents_mut().failure.take() {
            Some(e) => Err(e),
            None => Ok(row),
        }
    }

    fn rewind(&mut self) -> Result<()> {
        self.packer = packer((self.open)()?, self.options)?;
        Ok(())
    }
}

/// Documents that are rows already, cut to one length (SAELens' rule for tokenised datasets): nothing is
/// put before, between or behind them. `open` gives them from the beginning.
pub struct Cut<F> {
    open: F,
    context_size: usize,
    documents: Documents,
    /// Rows so far, for messages.
    row: usize,
}

impl<F: FnMut() -> Result<Documents>> Cut<F> {
    /// Rows of `context_size` tokens.
    ///
    /// # Errors
    /// The documents cannot be opened.
    pub fn new(mut open: F, context_size: usize) -> Result<Self> {
        let documents = open()?;
        Ok(Self { open, context_size, documents, row: 0 })
    }
}

impl<F: FnMut() -> Result<Documents> + Send> TokenRows for Cut<F> {
    fn context_size(&self) -> usize {
        self.context_size
    }

    fn next_row(&mut self) -> Result<Option<Vec<u32>>> {
        let Some(mut tokens) = self.documents.next().transpose()? else { return Ok(None) };
        cut(&mut tokens, self.row, self.context_size)?;
        self.row += 1;
        Ok(Some(tokens))
    }

    fn rewind(&mut self) -> Result<()> {
        self.documents = (self.open)()?;
        self.row = 0;
        Ok(())
    }
}

fn cut(tokens: &mut Vec<u32>, row: usize, context_size: usize) -> Result<()> {
    if tokens.len() < context_size {
        return Err(crate::Error::ShortRow { row, got: tokens.len(), want: context_size });
    }
    tokens.truncate(context_size);
    Ok(())
}

/// Rows that are in memory.
#[derive(Clone, Debug)]
pub struct RowsInMemory {
    rows: Vec<Vec<u32>>,
    context_size: usize,
    at: usize,
}

impl RowsInMemory {
    /// Rows cut to `context_size` (SAELens' rule for tokenised datasets).
    ///
    /// # Errors
    /// A row that is shorter.
    pub fn new(rows: Vec<Vec<u32>>, context_size: usize) -> Result<Self> {
        let mut rows = rows;
        for (row, tokens) in rows.iter_mut().enumerate() {
            cut(tokens, row, context_size)?;
        }
        Ok(Self { rows, context_size, at: 0 })
    }
}

impl TokenRows for RowsInMemory {
    fn context_size(&self) -> usize {
        self.context_size
    }

    fn next_row(&mut self) -> Result<Option<Vec<u32>>> {
        let row = self.rows.get(self.at).cloned();
        self.at += 1;
        Ok(row)
    }

    fn rewind(&mut self) -> Result<()> {
        self.at = 0;
        Ok(())
    }
}

/// The next `n` rows, beginning again at the end of the data (SAELens' `get_batch_tokens`).
///
/// # Errors
/// The data cannot be read, or holds no row at all.
pub fn next_rows(source: &mut dyn TokenRows, n: usize) -> Result<Vec<Vec<u32>>> {
    let mut rows = Vec::with_capacity(n);
    let mut empty = false;
    while rows.len() < n {
        match source.next_row()? {
            Some(row) => {
                rows.push(row);
                empty = false;
            }
            None if empty => {
                return Err(crate::Error::NoRows { context_size: source.context_size() });
            }
            None => {
                source.rewind()?;
                empty = true;
            }
        }
    }
    Ok(rows)
}
