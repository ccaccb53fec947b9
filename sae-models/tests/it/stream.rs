//! Generation from texts: padded together or alone, whole or piece by piece.

use std::ops::ControlFlow;

use sae_core::hook::Plan;
use sae_core::io::Folder;
use sae_core::model::ModelSpec;
use sae_core::tokenize::Tokenize;
use sae_models::sampling::Sampling;
use sae_models::tokenizer::{PrependBos, TextStream, Tokenizer};
use sae_models::{Decoder, GenerateOptions, Processing, Result, StopAt};

use crate::decoder::spec;

fn tokenizer() -> Tokenizer {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sae-cli/assets/genesis-4l/model");
    Tokenizer::load(&Folder::disk(folder), 64).unwrap()
}

fn model(tokenizer: &Tokenizer) -> Decoder {
    let spec = ModelSpec { d_vocab: tokenizer.d_vocab(), n_ctx: 64, ..spec() };
    Decoder::random_gpt2(&spec, Processing::NONE).unwrap()
}

fn greedy(max_new_tokens: usize) -> GenerateOptions {
    // No token ends a row.
    let stop_at = Some(StopAt { tokens: Vec::new(), fill: 0 });
    let sampling = Sampling::greedy();
    GenerateOptions { max_new_tokens, stop_at, sampling, ..GenerateOptions::default() }
}

#[test]
fn pieces_are_whole_characters_and_together_the_text() -> Result<()> {
    let tokenizer = tokenizer();
    let text = " the lamb \u{1f411}, na\u{ef}ve; \u{5b57} and the end";
    let ids = tokenizer.encode(text)?;
    for prompt in [0, 1, 4] {
        let mut stream = TextStream::after(&tokenizer, &ids[..prompt])?;
        // A prompt may end within a character; the stream then begins with that one.
        let begun = tokenizer.to_plain_string(&ids[..prompt])?;
        let mut out = begun.trim_end_matches(char::REPLACEMENT_CHARACTER).to_owned();
        let mut waited = false;
        for id in &ids[prompt..] {
            let piece = stream.push(*id)?;
            assert!(!piece.contains(char::REPLACEMENT_CHARACTER), "{piece:?}");
            waited |= piece.is_empty();
            out.push_str(&piece);
        }
        out.push_str(&stream.finish()?);
        assert_eq!(out, tokenizer.to_plain_string(&ids)?);
        assert!(waited, "some character takes several tokens");
    }
    Ok(())
}

#[test]
fn texts_of_unequal_length_go_on_together_as_they_do_alone() -> Result<()> {
    let tokenizer = tokenizer();
    let model = model(&tokenizer);
    let continued = |texts: &[&str]| {
        model.generate_texts(&tokenizer, texts, PrependBos::Yes, &greedy(6), &Plan::new())
    };
    let texts = ["The lamb", "And God saw the light, that it was good", "The wolf and the"];
    let together = continued(&texts)?;
    for (text, with_others) in texts.iter().zip(&together) {
        assert!(with_others.starts_with(text), "{with_others}");
        assert_eq!(continued(&[text])?[0], *with_others);
    }
    Ok(())
}

#[test]
fn a_stream_gives_the_continuation_and_may_be_ended() -> Result<()> {
    let tokenizer = tokenizer();
    let model = model(&tokenizer);
    let text = "The lamb and the";
    let stream = |on_text: &mut dyn FnMut(&str) -> ControlFlow<()>| {
        let options = greedy(8);
        let bos = PrependBos::Yes;
        model.generate_stream(&tokenizer, text, bos, &options, &Plan::new(), on_text)
    };
    let mut pieces = Vec::new();
    let whole = stream(&mut |piece| {
        pieces.push(piece.to_owned());
        ControlFlow::Continue(())
    })?;
    assert_eq!(pieces.concat(), whole);
    let texts =
        model.generate_texts(&tokenizer, &[text], PrependBos::Yes, &greedy(8), &Plan::new())?;
    assert_eq!(format!("{text}{whole}"), texts[0]);
    let first = stream(&mut |_| ControlFlow::Break(()))?;
    assert!(whole.starts_with(&first) && first.len() < whole.len(), "{first:?} {whole:?}");
    Ok(())
}
