//! The tokenizer of a GGUF file: byte-level BPE (`gpt2`) or SentencePiece BPE (`llama`), from the
//! tokens, merges and scores among the metadata.

use std::collections::HashMap;

use sae_core::io::Fields;
use serde_json::json;
use tokenizers::models::bpe::{BPE, Merges};
use tokenizers::{AddedToken, Tokenizer};

use super::splits;
use crate::gguf::Header;
use crate::{Error, Result};

/// `tokenizer.ggml.token_type`: special tokens, as BOS.
const CONTROL: u32 = 3;
/// Tokens that are found in a text before it is split.
const USER_DEFINED: u32 = 4;
/// A byte, as `<0x0A>`.
const BYTE: u32 = 6;

const TOKENS: &str = "tokenizer.ggml.tokens";
const MODEL: &str = "tokenizer.ggml.model";

/// The tokenizer, and the texts of its BOS, EOS and padding where the file names them.
pub(super) struct FromGguf {
    pub(super) tokenizer: Tokenizer,
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
    pub(super) pad: Option<String>,
}

/// What the metadata hold.
struct Metadata<'a> {
    fields: &'a Fields,
    tokens: &'a [String],
    types: Vec<u32>,
    header: &'a Header,
}

pub(super) fn build(header: &Header) -> Result<FromGguf> {
    let fields = &header.fields;
    let Some(tokens) = header.texts.get(TOKENS) else {
        return Err(fields.wrong(TOKENS, "a list of tokens").into());
    };
    let metadata = Metadata { fields, tokens, types: types(header, tokens.len())?, header };
    let mut tokenizer = match fields.text(MODEL)?.as_deref() {
        Some("gpt2") => metadata.byte_level()?,
        Some("llama") => metadata.sentence_piece()?,
        _ => return Err(fields.wrong(MODEL, "gpt2 or llama").into()),
    };
    metadata.add_tokens(&mut tokenizer)?;
    let bos = metadata.token("tokenizer.ggml.bos_token_id")?;
    if let Some(bos) = bos.as_deref().filter(|_| metadata.adds_bos()) {
        let id = tokenizer.token_to_id(bos).unwrap_or_default();
        let template = json!({
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": bos, "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } }
            ],
            "pair": [
                { "SpecialToken": { "id": bos, "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 1 } }
            ],
            "special_tokens": { bos: { "id": bos, "ids": [id], "tokens": [bos] } }
        });
        tokenizer.with_post_processor(Some(part::<tokenizers::PostProcessorWrapper>(template)?));
    }
    Ok(FromGguf {
        tokenizer,
        bos,
        eos: metadata.token("tokenizer.ggml.eos_token_id")?,
        pad: metadata.token("tokenizer.ggml.padding_token_id")?,
    })
}

/// The kind of each token; all are plain where the file does not say.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn types(header: &Header, n: usize) -> Result<Vec<u32>> {
    const FIELD: &str = "tokenizer.ggml.token_type";
    match header.numbers.get(FIELD) {
        None => Ok(vec![1; n]),
        Some(types) if types.len() == n => Ok(types.iter().map(|kind| *kind as u32).collect()),
        Some(_) => Err(header.fields.wrong(FIELD, &format!("{n} numbers")).into()),
    }
}

/// A part of a tokenizer, as `tokenizer.json` describes it.
pub(super) fn part<T: serde::de::DeserializeOwned>(json: serde_json::Value) -> Result<T> {
    serde_json::from_value(json).map_err(|e| Error::Tokenizer { problem: e.to_string() })
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` wants it
fn problem(e: tokenizers::Error) -> Error {
    Error::Tokenizer { problem: e.to_string() }
}

impl Metadata<'_> {
    fn vocabulary(&self) -> HashMap<String, u32> {
        // Of tokens that are there twice the first counts, as in llama.cpp.
        let mut vocabulary = HashMap::with_capacity(self.tokens.len());
        for (id, token) in (0u32..).zip(self.tokens) {
            vocabulary.entry(token.clone()).or_insert(id);
        }
        vocabulary
    }

    /// The text of the token whose number is in `field`.
    fn token(&self, field: &str) -> Result<Option<String>> {
        match self.fields.size(field)? {
            None => Ok(None),
            Some(id) => match self.tokens.get(id) {
                Some(token) => Ok(Some(token.clone())),
                None => {
                    let want = format!("one of {} tokens", self.tokens.len());
                    Err(self.fields.wrong(field, &want).into())
                }
            },
        }
    }

    fn is_sentence_piece(&self) -> bool {
        self.fields.get(MODEL).is_some_and(|model| model == "llama")
    }

    /// Whether texts begin with BOS by themselves: where the file does not say, as llama.cpp does.
    fn adds_bos(&self) -> bool {
        match self.fields.get("tokenizer.ggml.add_bos_token").and_then(|v| v.as_bool()) {
            Some(adds) => adds,
            None => self.is_sentence_piece() || splits::begins_with_bos(self.fields),
        }
    }

    fn byte_level(&self) -> Result<Tokenizer> {
        const FIELD: &str = "tokenizer.ggml.merges";
        let wrong = || self.fields.wrong(FIELD, "a list of two tokens each, with a space between");
        let lines = self.header.texts.get(FIELD).ok_or_else(wrong)?;
        let vocabulary = self.vocabulary();
        let mut merges = Merges::with_capacity(lines.len());
        for line in lines {
            // Tokens of spaces are spelled with other letters, so the space is the only one.
            let (left, right) = line.split_once(' ').ok_or_else(wrong)?;
            // (`tokenizers` panics where what comes of a merge is longer than any token.)
            if !vocabulary.contains_key(&format!("{left}{right}")) {
                let problem = format!("`{FIELD}`: `{line}` makes no token of the vocabulary");
                let path = self.fields.path().to_owned();
                return Err(sae_core::Error::BadFile { path, problem }.into());
            }
            merges.push((left.to_owned(), right.to_owned()));
        }
        let split = splits::of(self.fields)?;
        let bpe = BPE::builder()
            .vocab_and_merges(
                vocabulary.into_iter().collect::<tokenizers::models::bpe::Vocab>(),
                merges,
            )
            .ignore_merges(split.ignore_merges)
            .build()
            .map_err(problem)?;
        let mut tokenizer = Tokenizer::new(bpe);
        if let Some(normalizer) = split.normalizer {
            let normalizer: tokenizers::NormalizerWrapper = part(normalizer)?;
            tokenizer.with_normalizer(Some(normalizer)).map_err(problem)?;
        }
        let pre: tokenizers::PreTokenizerWrapper = part(split.pre_tokenizer)?;
        tokenizer.with_pre_tokenizer(Some(pre));
        let decoder: tokenizers::DecoderWrapper = part(splits::byte_level(true))?;
        tokenizer.with_decoder(Some(decoder));
        Ok(tokenizer)
    }

    fn sentence_piece(&self) -> Result<Tokenizer> {
        const FIELD: &str = "tokenizer.ggml.scores";
        let n = self.tokens.len();
        let Some(scores) = self.header.numbers.get(FIELD).filter(|scores| scores.len() == n) else {
            return Err(self.fields.wrong(FIELD, &format!("{n} numbers")).into());
        };
        let vocabulary = self.vocabulary();
        let merges = self.merges(&vocabulary, scores);
        let mut bpe = BPE::builder()
            .vocab_and_merges(
                vocabulary.into_iter().collect::<tokenizers::models::bpe::Vocab>(),
                merges,
            )
            .byte_fallback(self.types.contains(&BYTE))
            .fuse_unk(true);
        if let Some(unknown) = self.token("tokenizer.ggml.unknown_token_id")? {
            bpe = bpe.unk_token(unknown);
        }
        let mut tokenizer = Tokenizer::new(bpe.build().map_err(problem)?);
        let prefix = self.fields.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let spaces = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
        let mut before = vec![spaces];
        let mut after = vec![
            json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
            json!({ "type": "ByteFallback" }),
            json!({ "type": "Fuse" }),
        ];
        if prefix {
            before.insert(0, json!({ "type": "Prepend", "prepend": "▁" }));
            after.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let normalizer: tokenizers::NormalizerWrapper =
            part(json!({ "type": "Sequence", "normalizers": before }))?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(problem)?;
        let decoder: tokenizers::DecoderWrapper =
            part(json!({ "type": "Sequence", "decoders": after }))?;
        tokenizer.with_decoder(Some(decoder));
        Ok(tokenizer)
    }

    /// SentencePiece merges the neighbours whose union has the best score: every way of cutting a
    /// piece in two, best pieces first (`generate_merges` of `transformers`).
    fn merges(&self, vocabulary: &HashMap<String, u32>, scores: &[f64]) -> Merges {
        let mut all = Vec::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if matches!(self.types[id], CONTROL | BYTE) {
                continue;
            }
            let first = all.len();
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(l), Some(r)) = (vocabulary.get(left), vocabulary.get(right)) {
                    all.push((scores[id], (*l, *r), (left, right)));
                }
            }
            all[first..].sort_unstable_by_key(|(_, ids, _)| *ids);
        }
        let lengths = |(left, right): (&str, &str)| (left.chars().count(), right.chars().count());
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| lengths(b.2).cmp(&lengths(a.2))));
        all.into_iter().map(|(_, _, (l, r))| (l.to_owned(), r.to_owned())).collect()
    }

    /// Special tokens, and those that are found before a text is split.
    fn add_tokens(&self, tokenizer: &mut Tokenizer) -> Result<()> {
        // SentencePiece looks for its own in the text whose spaces are already replaced.
        let normalized = self.is_sentence_piece();
        let mut special = Vec::new();
        let mut plain = Vec::new();
        for (token, kind) in self.tokens.iter().zip(&self.types) {
            match *kind {
                CONTROL => special.push(AddedToken::from(token.clone(), true)),
                USER_DEFINED => {
                    plain.push(AddedToken::from(token.clone(), false).normalized(normalized));
                }
                _ => {}
            }
        }
        tokenizer.add_special_tokens(special).map_err(problem)?;
        tokenizer.add_tokens(plain).map_err(problem)?;
        Ok(())
    }
}
