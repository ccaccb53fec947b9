//! Packing documents into rows of one length: SAELens' `concat_and_batch_sequences`
//! (`sae_lens/tokenization_and_batching.py`, version 6.54).

use std::collections::VecDeque;

/// A context that holds no token of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "context_size is {context_size}, expected at least {least}: each row must hold a token of its own"
)]
pub struct ContextTooSmall {
    /// Tokens per row.
    pub context_size: usize,
    /// The least that would do.
    pub least: usize,
}

/// How documents become rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackOptions {
    /// Tokens per row.
    pub context_size: usize,
    /// Begins every row.
    pub begin_batch: Option<u32>,
    /// Begins every document.
    pub begin_sequence: Option<u32>,
    /// Stands between two documents in one row.
    pub separator: Option<u32>,
    /// One row per document at most; documents that do not fill it are left out.
    pub disable_concat: bool,
    /// The rules of SAELens 5.9: a `begin_sequence` cut off by the end of a row is lost.
    pub legacy: bool,
}

/// Packs a stream of documents; an unfinished last row is dropped, empty documents leave no trace.
///
/// ```
/// use sae_store::{PackOptions, Packer};
///
/// let options = PackOptions {
///     context_size: 4,
///     begin_batch: Some(0),
///     separator: Some(0),
///     ..PackOptions::default()
/// };
/// let documents = [vec![5, 6], vec![7, 8, 9]];
/// let rows: Vec<_> = Packer::new(documents.into_iter(), options)?.collect();
/// assert_eq!(rows, [[0, 5, 6, 0], [0, 7, 8, 9]]);
/// # Ok::<(), sae_store::pack::ContextTooSmall>(())
/// ```
pub struct Packer<I> {
    documents: I,
    options: PackOptions,
    row: Vec<u32>,
    ready: VecDeque<Vec<u32>>,
    /// The rest of the document at hand.
    rest: VecDeque<u32>,
    /// The document at hand has still to get its `begin_sequence`.
    begins: bool,
}

impl<I: Iterator<Item = Vec<u32>>> Packer<I> {
    /// Pack `documents`.
    ///
    /// # Errors
    /// A context that holds no more than what begins every row.
    pub fn new(documents: I, options: PackOptions) -> Result<Self, ContextTooSmall> {
        let context_size = options.context_size;
        let least = 1 + usize::from(options.begin_batch.is_some());
        if context_size < least {
            return Err(ContextTooSmall { context_size, least });
        }
        let (row, ready, rest) = (Vec::new(), VecDeque::new(), VecDeque::new());
        Ok(Self { documents, options, row, ready, rest, begins: false })
    }

    /// The documents that are still to come.
    pub(crate) fn documents_mut(&mut self) -> &mut I {
        &mut self.documents
    }

    fn alone(&self, mut document: Vec<u32>) -> Option<Vec<u32>> {
        let o = self.options;
        if let Some(begin) = o.begin_sequence.or(o.begin_batch)
            && document.len() + 1 >= o.context_size
            && document.first() != Some(&begin)
        {
            document.insert(0, begin);
        }
        document.truncate(o.context_size);
        (document.len() == o.context_size).then_some(document)
    }

    /// Put the next piece of the document at hand into the row.
    fn fill(&mut self) {
        let o = self.options;
        let mut piece: VecDeque<u32> = VecDeque::new();
        let first =
            |piece: &VecDeque<u32>, rest: &VecDeque<u32>| piece.front().or(rest.front()).copied();
        let begin = o.begin_sequence.filter(|b| self.begins && self.rest.front() != Some(b));
        piece.extend(begin);
        let prefix = if self.row.is_empty() { o.begin_batch } else { o.separator };
        // A document that goes on in a new row gets the row's beginning only.
        let prefix = prefix.filter(|p| first(&piece, &self.rest) != Some(*p));
        if let Some(prefix) = prefix {
            piece.push_front(prefix);
        }
        let room = o.context_size - self.row.len();
        // Cut off at the end of the row, the document's beginning is still due in the next one.
        let cut = begin.is_some() && piece.len() > room;
        self.begins = cut && !o.legacy;
        piece.truncate(room);
        self.row.extend(piece);
        let room = o.context_size - self.row.len();
        self.row.extend(self.rest.drain(..room.min(self.rest.len())));
        if self.row.len() == o.context_size {
            self.ready.push_back(std::mem::take(&mut self.row));
        }
    }
}

impl<I: Iterator<Item = Vec<u32>>> Iterator for Packer<I> {
    type Item = Vec<u32>;

    fn next(&mut self) -> Option<Vec<u32>> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return Some(row);
            }
            if self.rest.is_empty() {
                let document = self.documents.next()?;
                if self.options.disable_concat {
                    self.ready.extend(self.alone(document));
                    continue;
                }
                self.rest = document.into();
                self.begins = true;
                if self.rest.is_empty() {
                    continue;
                }
            }
            self.fill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_without_room_for_tokens_is_refused() {
        for (context_size, begin_batch, least) in [(0, None, 1), (1, Some(0), 2)] {
            let options = PackOptions { context_size, begin_batch, ..PackOptions::default() };
            let error = Packer::new(std::iter::empty(), options).err();
            assert_eq!(error, Some(ContextTooSmall { context_size, least }));
        }
    }
}

#[cfg(test)]
mod prop {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn rows_are_full_and_without_special_tokens_hold_every_token_in_order(
            documents in vec(vec(1u32..50, 0..30), 0..20),
            context_size in 1usize..12,
        ) {
            let options = PackOptions { context_size, ..PackOptions::default() };
            let rows: Vec<_> = Packer::new(documents.clone().into_iter(), options).unwrap().collect();
            let all: Vec<u32> = documents.concat();
            prop_assert!(rows.iter().all(|r| r.len() == context_size));
            prop_assert_eq!(rows.concat(), &all[..all.len() / context_size * context_size]);
        }

        #[test]
        fn every_row_begins_with_its_beginning(
            documents in vec(vec(0u32..5, 0..9), 0..20),
            context_size in 2usize..8,
        ) {
            let options = PackOptions { context_size, begin_batch: Some(0), separator: Some(3), ..PackOptions::default() };
            for row in Packer::new(documents.into_iter(), options).unwrap() {
                prop_assert_eq!(row[0], 0);
                prop_assert_eq!(row.len(), context_size);
            }
        }
    }
}
