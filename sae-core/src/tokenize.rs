//! `Tokenize`: text to token ids and back.

/// What the other crates ask of a tokenizer.
pub trait Tokenize: Send + Sync {
    /// What can go wrong.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Token ids of a text, special tokens in it recognised, none added.
    ///
    /// # Errors
    /// The text cannot be tokenised.
    fn encode(&self, text: &str) -> Result<Vec<u32>, Self::Error>;

    /// The text of token ids together, special tokens included.
    ///
    /// # Errors
    /// An id that the vocabulary does not have.
    fn decode(&self, ids: &[u32]) -> Result<String, Self::Error>;
}
