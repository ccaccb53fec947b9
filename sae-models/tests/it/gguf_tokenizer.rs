//! Tokenizers made from the metadata of GGUF files.

use candle_core::quantized::gguf_file::Value;
use sae_core::io::Folder;
use sae_models::tokenizer::{PrependBos, Tokenizer};

use crate::gguf::Gguf;

fn texts(list: &[&str]) -> Value {
    Value::Array(list.iter().map(|text| Value::String((*text).to_owned())).collect())
}

fn load(gguf: &Gguf) -> Result<Tokenizer, sae_models::Error> {
    let dir = tempfile::tempdir().unwrap();
    Tokenizer::load(&Folder::disk(gguf.write(dir.path())), 64)
}

fn with(architecture: &str, model: &str) -> Gguf {
    let mut gguf = Gguf { metadata: Vec::new(), tensors: Vec::new() };
    gguf.set("general.architecture", Value::String(architecture.to_owned()));
    gguf.set("tokenizer.ggml.model", Value::String(model.to_owned()));
    gguf
}

/// Pieces with scores that prefer `▁lo` to `ow`, and two bytes.
fn sentence_piece() -> Gguf {
    let pieces = [
        ("<unk>", 0.0, 2),
        ("<s>", 0.0, 3),
        ("</s>", 0.0, 3),
        ("<0xC3>", 0.0, 6),
        ("<0xA9>", 0.0, 6),
        ("▁", -10.0, 1),
        ("l", -11.0, 1),
        ("o", -12.0, 1),
        ("w", -13.0, 1),
        ("▁l", -1.0, 1),
        ("▁lo", -2.0, 1),
        ("ow", -3.0, 1),
        ("  ", -1000.0, 4),
    ];
    let mut gguf = with("llama", "llama");
    gguf.set("tokenizer.ggml.tokens", texts(&pieces.map(|(piece, _, _)| piece)));
    let scores = pieces.map(|(_, score, _)| Value::F32(score)).to_vec();
    gguf.set("tokenizer.ggml.scores", Value::Array(scores));
    let kinds = pieces.map(|(_, _, kind)| Value::I32(kind)).to_vec();
    gguf.set("tokenizer.ggml.token_type", Value::Array(kinds));
    for (field, id) in [("bos", 1), ("eos", 2), ("unknown", 0)] {
        gguf.set(&format!("tokenizer.ggml.{field}_token_id"), Value::U32(id));
    }
    gguf
}

#[test]
fn sentence_piece_merges_by_score_and_falls_back_to_bytes() {
    let mut gguf = sentence_piece();
    let tokenizer = load(&gguf).unwrap();
    let ids = |text: &str| tokenizer.to_tokens(text, PrependBos::No).unwrap();
    assert_eq!(ids("low"), [10, 8]);
    assert_eq!(ids("ow low"), [5, 11, 10, 8]);
    assert_eq!(ids("é"), [5, 3, 4]);
    assert_eq!(ids("</s>"), [2]);
    assert_eq!(tokenizer.to_string(&ids("low low")).unwrap(), "low low");
    assert!(tokenizer.prepends_bos());
    let special = tokenizer.special();
    assert_eq!((special.bos_id, special.eos_id, special.pad_id), (1, 2, 2));

    // Without a space before the text, as Gemma; two spaces are a token of their own.
    gguf.set("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    gguf.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
    let tokenizer = load(&gguf).unwrap();
    assert_eq!(tokenizer.to_tokens("low  low", PrependBos::No).unwrap(), [6, 11, 12, 6, 11]);
    assert!(!tokenizer.prepends_bos());
}

fn byte_level(pre: Option<&str>) -> Gguf {
    let mut gguf = with("llama", "gpt2");
    let tokens = ["<|begin|>", "<|end|>", "1", "2", "3", "12", "123", "a", "Ġ", "Ġa", "é"];
    gguf.set("tokenizer.ggml.tokens", texts(&tokens));
    gguf.set("tokenizer.ggml.merges", texts(&["1 2", "12 3", "Ġ a"]));
    let mut kinds = vec![Value::I32(1); tokens.len()];
    kinds[..2].fill(Value::I32(3));
    gguf.set("tokenizer.ggml.token_type", Value::Array(kinds));
    gguf.set("tokenizer.ggml.bos_token_id", Value::U32(0));
    gguf.set("tokenizer.ggml.eos_token_id", Value::U32(1));
    if let Some(pre) = pre {
        gguf.set("tokenizer.ggml.pre", Value::String(pre.to_owned()));
    }
    gguf
}

#[test]
fn byte_level_texts_are_cut_as_the_file_says() {
    for (pre, want) in [
        (Some("gpt-2"), vec![6, 6, 9]),
        (Some("smollm"), vec![2, 3, 4, 2, 3, 4, 9]),
        (Some("qwen2"), vec![2, 3, 4, 2, 3, 4, 9]),
        (Some("llama-bpe"), vec![6, 6, 9]),
        // Llama's own, where nothing is said.
        (None, vec![6, 6, 9]),
    ] {
        let tokenizer = load(&byte_level(pre)).unwrap();
        let got = tokenizer.to_tokens("123123 a", PrependBos::No).unwrap();
        assert_eq!(got, want, "{pre:?}");
        assert_eq!(tokenizer.to_string(&got).unwrap(), "123123 a");
        assert_eq!(tokenizer.to_tokens("<|end|>", PrependBos::Yes).unwrap(), [0, 1]);
        assert_eq!(tokenizer.prepends_bos(), matches!(pre, None | Some("llama-bpe")), "{pre:?}");
    }
}

#[test]
fn tokenizers_that_are_not_built_are_refused_by_field() {
    let says = |gguf: &Gguf, text: &str| {
        let message = load(gguf).unwrap_err().to_string();
        assert!(message.contains(text) && message.contains("model.gguf"), "{message}");
    };
    says(&byte_level(Some("chameleon")), "`tokenizer.ggml.pre` is \"chameleon\"");
    says(&with("llama", "gpt2"), "`tokenizer.ggml.tokens` is missing");
    let mut gguf = byte_level(None);
    gguf.set("tokenizer.ggml.model", Value::String("t5".to_owned()));
    says(&gguf, "`tokenizer.ggml.model` is \"t5\", expected gpt2 or llama");
    let mut gguf = byte_level(None);
    gguf.set("tokenizer.ggml.bos_token_id", Value::U32(99));
    says(&gguf, "`tokenizer.ggml.bos_token_id` is 99, expected one of 11 tokens");
    let mut gguf = byte_level(None);
    gguf.set("tokenizer.ggml.merges", texts(&["123 <|begin|>"]));
    says(&gguf, "`123 <|begin|>` makes no token");
    let mut gguf = sentence_piece();
    gguf.metadata.retain(|(key, _)| key != "tokenizer.ggml.scores");
    says(&gguf, "`tokenizer.ggml.scores` is missing, expected 13 numbers");
}

#[test]
fn a_tokenizer_whose_parts_do_not_fit_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let json = serde_json::json!({
        "version": "1.0",
        "model": { "type": "BPE", "vocab": { "a": 0, "b": 1 }, "merges": ["a b"] }
    });
    std::fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    let message = Tokenizer::load(&Folder::disk(dir.path()), 8).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json: not a tokenizer"), "{message}");
}
