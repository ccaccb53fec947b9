//! BOS, EOS and padding, as the files say and TransformerLens completes them.

use std::path::Path;

use sae_core::io::{Fields, Folder};
use serde_json::Value;

use crate::{Error, Result};

/// The special tokens of a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Special {
    /// Begins a text.
    pub bos: String,
    /// Ends a text.
    pub eos: String,
    /// Fills rows.
    pub pad: String,
    /// Id of `bos`.
    pub bos_id: u32,
    /// Id of `eos`.
    pub eos_id: u32,
    /// Id of `pad`.
    pub pad_id: u32,
}

impl Special {
    /// From `tokenizer_config.json`, then `special_tokens_map.json`; where both are silent,
    /// EOS is `<|endoftext|>`, padding is EOS and BOS is EOS (TransformerLens, `set_tokenizer`).
    pub(super) fn read(folder: &Folder, tokenizer: &tokenizers::Tokenizer) -> Result<Self> {
        let mut files = Vec::new();
        for file in ["tokenizer_config.json", "special_tokens_map.json"] {
            if folder.has(file) {
                files.push(Fields::parse(&folder.path(file), &folder.read(file)?)?);
            }
        }
        let named = |field: &str| -> Result<Option<String>> {
            for fields in &files {
                match fields.get(field) {
                    None => {}
                    Some(Value::String(text)) => return Ok(Some(text.clone())),
                    Some(value) => {
                        let content = value.get("content").and_then(Value::as_str);
                        let wrong = || fields.wrong(field, "a token");
                        return Ok(Some(content.ok_or_else(wrong)?.to_owned()));
                    }
                }
            }
            Ok(None)
        };
        let names = [named("bos_token")?, named("eos_token")?, named("pad_token")?];
        Self::complete(names, &folder.path("tokenizer.json"), tokenizer)
    }

    /// What files call BOS, EOS and padding, with what TransformerLens puts where they are silent.
    pub(super) fn complete(
        [bos, eos, pad]: [Option<String>; 3],
        path: &Path,
        tokenizer: &tokenizers::Tokenizer,
    ) -> Result<Self> {
        let eos = eos.unwrap_or_else(|| "<|endoftext|>".to_owned());
        let pad = pad.unwrap_or_else(|| eos.clone());
        let bos = bos.unwrap_or_else(|| eos.clone());
        let id = |token: &str| {
            let absent =
                || Error::SpecialTokenAbsent { path: path.to_owned(), token: token.to_owned() };
            tokenizer.token_to_id(token).ok_or_else(absent)
        };
        Ok(Self { bos_id: id(&bos)?, eos_id: id(&eos)?, pad_id: id(&pad)?, bos, eos, pad })
    }
}
