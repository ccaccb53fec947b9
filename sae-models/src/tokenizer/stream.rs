//! `TextStream`: text of tokens that come one after the other.

use super::Tokenizer;
use crate::Result;

/// Turns tokens into text as they come. A character whose bytes are spread over several tokens comes out
/// with the last of them, so that all pieces together are the text of all tokens.
pub struct TextStream<'t> {
    tokenizer: &'t Tokenizer,
    /// The tokens of the last piece, which the next one may depend on (a leading space), and those
    /// after it.
    ids: Vec<u32>,
    /// So many of `ids` are out already.
    out: usize,
}

impl<'t> TextStream<'t> {
    /// Begin with nothing before the first token.
    pub fn new(tokenizer: &'t Tokenizer) -> Self {
        Self { tokenizer, ids: Vec::new(), out: 0 }
    }

    /// Begin after a prompt.
    ///
    /// # Errors
    /// A token that the vocabulary does not have.
    pub fn after(tokenizer: &'t Tokenizer, prompt: &[u32]) -> Result<Self> {
        tokenizer.to_plain_string(prompt)?;
        Ok(Self { tokenizer, ids: prompt.to_vec(), out: prompt.len() })
    }

    /// The text that a token completes, without special tokens; empty while a character is not whole.
    ///
    /// # Errors
    /// A token that the vocabulary does not have.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.ids.push(token);
        let piece = self.piece()?;
        if piece.is_empty() || piece.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.ids.drain(..self.out);
        self.out = self.ids.len();
        Ok(piece)
    }

    /// What is left: bytes that make no whole character, as U+FFFD.
    ///
    /// # Errors
    /// The tokenizer failed.
    pub fn finish(self) -> Result<String> {
        self.piece()
    }

    /// The text of the tokens that are not out yet.
    fn piece(&self) -> Result<String> {
        let before = self.tokenizer.to_plain_string(&self.ids[..self.out])?;
        let all = self.tokenizer.to_plain_string(&self.ids)?;
        let same = all.char_indices().zip(before.chars()).take_while(|((_, a), b)| a == b);
        let known = same.last().map_or(0, |((at, c), _)| at + c.len_utf8());
        Ok(all[known..].to_owned())
    }
}
