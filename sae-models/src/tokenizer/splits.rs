//! How byte-level tokenizers cut a text before they merge, by llama.cpp's names
//! (`tokenizer.ggml.pre`; `llama-vocab.cpp` and each model's `tokenizer.json`).

use sae_core::io::Fields;
use serde_json::{Value, json};

use crate::Result;

const FIELD: &str = "tokenizer.ggml.pre";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The parts of `tokenizer.json` that differ.
pub(super) struct Split {
    pub(super) normalizer: Option<Value>,
    pub(super) pre_tokenizer: Value,
    /// A piece that is a token is taken whole.
    pub(super) ignore_merges: bool,
}

enum Kind {
    Gpt2,
    /// Digits stand alone.
    Digits,
    Llama3,
    Qwen2,
}

/// How the texts of this file's tokenizer are cut.
pub(super) fn of(fields: &Fields) -> Result<Split> {
    let plain = |pre_tokenizer| Split { normalizer: None, pre_tokenizer, ignore_merges: false };
    Ok(match kind(fields)? {
        Kind::Gpt2 => plain(byte_level(true)),
        Kind::Digits => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            plain(sequence(&[digits, byte_level(true)]))
        }
        Kind::Llama3 => {
            Split { ignore_merges: true, ..plain(sequence(&[regex(LLAMA_3), byte_level(false)])) }
        }
        Kind::Qwen2 => Split {
            normalizer: Some(json!({ "type": "NFC" })),
            ..plain(sequence(&[regex(QWEN_2), byte_level(false)]))
        },
    })
}

/// Whether texts begin with BOS where the file does not say.
pub(super) fn begins_with_bos(fields: &Fields) -> bool {
    matches!(kind(fields), Ok(Kind::Llama3))
}

fn kind(fields: &Fields) -> Result<Kind> {
    let named = fields.text(FIELD)?;
    let name = match named.as_deref() {
        // Files that were made before the field was: as the models of that architecture have it.
        None | Some("default") => match fields.text("general.architecture")?.as_deref() {
            Some("llama") => "llama-bpe",
            Some("qwen2" | "qwen3") => "qwen2",
            _ => "gpt-2",
        },
        Some(name) => name,
    };
    Ok(match name {
        "gpt-2" | "gpt2" | "phi-2" | "roberta-bpe" => Kind::Gpt2,
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => Kind::Digits,
        "llama-bpe" | "llama3" | "llama-v3" => Kind::Llama3,
        "qwen2" | "deepseek-r1-qwen" => Kind::Qwen2,
        _ => return Err(fields.wrong(FIELD, "gpt-2, smollm, llama-bpe or qwen2").into()),
    })
}

/// Bytes spelled as letters, with GPT-2's way of cutting or none.
pub(super) fn byte_level(use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": true,
        "use_regex": use_regex
    })
}

fn regex(pattern: &str) -> Value {
    json!({
        "type": "Split",
        "pattern": { "Regex": pattern },
        "behavior": "Isolated",
        "invert": false
    })
}

fn sequence(parts: &[Value; 2]) -> Value {
    json!({ "type": "Sequence", "pretokenizers": parts })
}
