//! Real models, where `scripts/fetch_models.py` has put them.

use std::path::PathBuf;

use sae_core::hook::{Logits, Plan};
use sae_core::io::{Folder, WeightDtype};
use sae_core::model::{Batch, HookedModel};
use sae_models::tokenizer::{PrependBos, Tokenizer};
use sae_models::{Decoder, Keep, LoadOptions, Processing};

/// A file of `fetch_models.py`, which looks in the same places.
fn file(name: &str) -> Option<PathBuf> {
    let cache = |var: &str| std::env::var_os(var).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = cache("SAE_MODELS_DIR").or_else(|| {
        let cache = cache("XDG_CACHE_HOME").or_else(|| cache("HOME").map(|h| h.join(".cache")))?;
        Some(cache.join("sae-rs/models"))
    })?;
    let path = dir.join(name);
    if !path.is_file() {
        eprintln!(
            "NOT RUN: {} is not there; python scripts/fetch_models.py fetches it",
            path.display()
        );
        return None;
    }
    Some(path)
}

/// A file, a prompt's tokens as the published tokenizer makes them, and what the `transformers` library
/// says after it from the same file (`scripts/compare_transformers.py` compares all positions).
struct Expected {
    file: &'static str,
    ids: [u32; 6],
    /// The likeliest tokens and their logits, which are around 20.
    top: [(u32, f32); 5],
}

const PROMPT: &str = "The capital of France is";
const EXPECTED: [Expected; 2] = [
    Expected {
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        ids: [1, 504, 3575, 282, 4649, 314],
        top: [(7042, 15.414), (3692, 11.6474), (2250, 11.2503), (260, 11.1336), (450, 11.0742)],
    },
    Expected {
        file: "gemma-3-270m-q4_k_m.gguf",
        ids: [2, 818, 5279, 529, 7001, 563],
        top: [(506, 19.0915), (496, 18.5476), (9079, 18.2686), (886, 18.113), (3224, 17.7839)],
    },
];

fn last_logits(model: &Decoder, ids: &[u32]) -> Vec<f32> {
    let plan = Plan::new().logits(Logits::Last);
    let run = model.run(&Batch::single(ids).unwrap(), &plan).unwrap();
    run.require_logits().unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn real_models_load_from_gguf_and_answer_as_in_transformers() {
    for Expected { file: name, ids, top } in EXPECTED {
        let Some(path) = file(name) else { continue };
        let folder = Folder::disk(path);
        for (weights, tolerance) in
            [(WeightDtype::F32.into(), 1e-3), (WeightDtype::F16.into(), 5e-2), (Keep::Stored, 1e-3)]
        {
            let options = LoadOptions { processing: Processing::NONE, weights };
            let model = Decoder::load_with(&folder, options).unwrap();
            let tokenizer = Tokenizer::load(&folder, model.spec().n_ctx).unwrap();
            assert_eq!(tokenizer.to_tokens(PROMPT, PrependBos::Yes).unwrap(), ids, "{name}");
            assert_eq!(tokenizer.to_string(&ids[1..]).unwrap(), PROMPT, "{name}");
            assert!(tokenizer.d_vocab() <= model.spec().d_vocab, "{name}");
            let logits = last_logits(&model, &ids);
            for (token, want) in top {
                let got = logits[token as usize];
                assert!((got - want).abs() < tolerance, "{name}: {token} {got}, expected {want}");
            }
            let best = (0u32..).zip(&logits).max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            assert_eq!(best.0, top[0].0, "{name}");
        }
    }
}
