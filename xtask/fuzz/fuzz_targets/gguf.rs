//! A GGUF file: its header, the model (in f32, and with blocks as they are) and the tokenizer in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sae_core::io::Folder;
use sae_models::tokenizer::Tokenizer;
use sae_models::{Decoder, Keep, LoadOptions, Processing};

fuzz_target!(|content: &[u8]| {
    // A file, since that is what is read; in memory where the system has such a folder.
    let path = std::env::temp_dir().join(format!("sae-fuzz-{}.gguf", std::process::id()));
    if std::fs::write(&path, content).is_err() {
        return;
    }
    let folder = Folder::disk(&path);
    for (weights, processing) in
        [(Keep::default(), Processing::NONE), (Keep::Stored, Processing::DEFAULT)]
    {
        drop(Decoder::load_with(&folder, LoadOptions { processing, weights }));
    }
    drop(Tokenizer::load(&folder, 64));
});
