//! Text to tokens and back, with TransformerLens' calls.

mod gguf;
mod padding;
mod settings;
mod splits;
mod stream;

use std::path::Path;

use sae_core::io::Folder;
use sae_core::tokenize::Tokenize;

pub use padding::{PaddingSide, attention_mask};
pub use settings::Special;
pub use stream::TextStream;

use crate::{Error, Result};

const JSON: &str = "tokenizer.json";

/// Whether a text is to begin with a BOS token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrependBos {
    /// As the model's default says.
    #[default]
    Default,
    /// One more BOS than the text itself contains.
    Yes,
    /// None but those in the text.
    No,
}

impl From<Option<bool>> for PrependBos {
    fn from(choice: Option<bool>) -> Self {
        choice.map_or(Self::Default, |yes| if yes { Self::Yes } else { Self::No })
    }
}

/// Which of several occurrences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrence {
    /// The first.
    First,
    /// The last.
    Last,
}

/// A tokenizer, its special tokens, and the context that texts are cut to.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: Special,
    n_ctx: usize,
    default_prepend_bos: bool,
}

impl Tokenizer {
    /// The tokenizer of a folder in Hugging Face layout, or of a GGUF file, whose own is taken where
    /// no `tokenizer.json` lies beside it; texts are cut to `n_ctx` tokens.
    ///
    /// # Errors
    /// There is no tokenizer, it is damaged, or a special token is not in the vocabulary.
    pub fn load(folder: &Folder, n_ctx: usize) -> Result<Self> {
        let (inner, special) = match crate::gguf::file_of(folder)? {
            None => from_json(folder)?,
            Some(path) => {
                let beside = Folder::disk(path.parent().unwrap_or(Path::new("")));
                match beside.has(JSON) {
                    true => from_json(&beside)?,
                    false => from_gguf(&path)?,
                }
            }
        };
        Ok(Self { inner, special, n_ctx, default_prepend_bos: true })
    }

    /// The same tokenizer with another meaning of [`PrependBos::Default`].
    #[must_use]
    pub fn with_default_prepend_bos(mut self, yes: bool) -> Self {
        self.default_prepend_bos = yes;
        self
    }

    /// BOS, EOS and padding.
    pub fn special(&self) -> &Special {
        &self.special
    }

    /// Number of tokens, added ones included.
    pub fn d_vocab(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether the tokenizer by itself begins texts with a special token.
    pub fn prepends_bos(&self) -> bool {
        self.inner.encode("", true).is_ok_and(|e| !e.is_empty())
    }

    /// Tokens of a text, special tokens written in it recognised, cut to the context.
    ///
    /// # Errors
    /// The text cannot be tokenised.
    pub fn to_tokens(&self, text: &str, bos: PrependBos) -> Result<Vec<u32>> {
        let mut ids = self.to_tokens_whole(text, bos)?;
        ids.truncate(self.n_ctx);
        Ok(ids)
    }

    /// As [`Tokenizer::to_tokens`], not cut.
    ///
    /// # Errors
    /// The text cannot be tokenised.
    pub fn to_tokens_whole(&self, text: &str, bos: PrependBos) -> Result<Vec<u32>> {
        let mut ids =
            if self.begins_with_bos(bos) { vec![self.special.bos_id] } else { Vec::new() };
        ids.extend(self.encode(text)?);
        Ok(ids)
    }

    /// Rows of equal length, padded on one side; on the left, BOS stays next to its text.
    ///
    /// # Errors
    /// A text cannot be tokenised.
    pub fn to_tokens_batch(
        &self,
        texts: &[impl AsRef<str>],
        bos: PrependBos,
        side: PaddingSide,
    ) -> Result<Vec<Vec<u32>>> {
        let rows: Vec<Vec<u32>> =
            texts.iter().map(|t| self.to_tokens(t.as_ref(), bos)).collect::<Result<_>>()?;
        Ok(padding::pad(rows, self.special.pad_id, side))
    }

    /// 1 for tokens and 0 for padding, row by row.
    pub fn attention_mask(
        &self,
        rows: &[Vec<u32>],
        bos: PrependBos,
        side: PaddingSide,
    ) -> Vec<Vec<u8>> {
        let bos_is_pad = self.special.bos_id == self.special.pad_id;
        let keep_bos = bos_is_pad && self.begins_with_bos(bos);
        attention_mask(rows, self.special.pad_id, side, keep_bos)
    }

    /// Each token's text by itself; incomplete UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// A token that the vocabulary does not have.
    pub fn to_str_tokens(&self, ids: &[u32]) -> Result<Vec<String>> {
        ids.iter().map(|id| self.to_single_str_token(*id)).collect()
    }

    /// The text of tokens together, special ones included.
    ///
    /// # Errors
    /// A token that the vocabulary does not have.
    pub fn to_string(&self, ids: &[u32]) -> Result<String> {
        self.decode_with(ids, false)
    }

    /// The text of tokens together, special ones left out.
    ///
    /// # Errors
    /// A token that the vocabulary does not have.
    pub fn to_plain_string(&self, ids: &[u32]) -> Result<String> {
        self.decode_with(ids, true)
    }

    /// The one token that a text is.
    ///
    /// # Errors
    /// The text is none, or several: says which.
    pub fn to_single_token(&self, text: &str) -> Result<u32> {
        match self.encode(text)?.as_slice() {
            [id] => Ok(*id),
            ids => {
                Err(Error::NotOneToken { text: text.to_owned(), tokens: self.to_str_tokens(ids)? })
            }
        }
    }

    /// The text of one token.
    ///
    /// # Errors
    /// A token that the vocabulary does not have.
    pub fn to_single_str_token(&self, id: u32) -> Result<String> {
        self.decode_with(&[id], false)
    }

    /// Where a token stands in a text, counting a BOS.
    ///
    /// # Errors
    /// It does not stand there.
    pub fn get_token_position(&self, token: u32, ids: &[u32], which: Occurrence) -> Result<usize> {
        let found = match which {
            Occurrence::First => ids.iter().position(|id| *id == token),
            Occurrence::Last => ids.iter().rposition(|id| *id == token),
        };
        match found {
            Some(position) => Ok(position),
            None => Err(Error::TokenAbsent { token, text: self.to_single_str_token(token)? }),
        }
    }

    fn begins_with_bos(&self, bos: PrependBos) -> bool {
        match bos {
            PrependBos::Default => self.default_prepend_bos,
            PrependBos::Yes => true,
            PrependBos::No => false,
        }
    }

    fn decode_with(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let d_vocab = self.d_vocab();
        if let Some(&token) = ids.iter().find(|id| self.inner.id_to_token(**id).is_none()) {
            return Err(sae_core::Error::TokenOutOfRange { token, d_vocab }.into());
        }
        self.inner
            .decode(ids, skip_special)
            .map_err(|e| Error::Tokenizer { problem: e.to_string() })
    }
}

fn from_json(folder: &Folder) -> Result<(tokenizers::Tokenizer, Special)> {
    let path = folder.path(JSON);
    if !folder.has(JSON) {
        return Err(Error::NoTokenizer { path: folder.path("") });
    }
    let bad = |e: tokenizers::Error| sae_core::Error::BadFile {
        path: path.clone(),
        problem: format!("not a tokenizer: {e}"),
    };
    let bytes = folder.read(JSON)?;
    // `tokenizers` indexes by what the file says in some places: a panic there is a file that is wrong.
    let read = std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(bytes));
    let read = read.unwrap_or_else(|_| Err("its parts do not fit each other".into()));
    let mut inner = read.map_err(bad)?;
    // Cutting and padding are done here, with TransformerLens' rules.
    inner.with_truncation(None).map_err(bad)?;
    inner.with_padding(None);
    let special = Special::read(folder, &inner)?;
    Ok((inner, special))
}

fn from_gguf(path: &Path) -> Result<(tokenizers::Tokenizer, Special)> {
    let file = gguf::build(&crate::gguf::header(path)?)?;
    let special = Special::complete([file.bos, file.eos, file.pad], path, &file.tokenizer)?;
    Ok((file.tokenizer, special))
}

impl Tokenize for Tokenizer {
    type Error = Error;

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self.inner.encode(text, false) {
            Ok(encoding) => Ok(encoding.get_ids().to_vec()),
            Err(e) => Err(Error::Tokenizer { problem: e.to_string() }),
        }
    }

    fn decode(&self, ids: &[u32]) -> Result<String> {
        self.to_string(ids)
    }
}
