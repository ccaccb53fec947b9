//! The model and the SAE that are built into the program.

use sae_core::io::Folder;

macro_rules! files {
    ($folder:literal: $($file:literal),*) => {
        &[$(($file, include_bytes!(concat!("../assets/genesis-4l/", $folder, "/", $file)))),*]
    };
}

/// `demo` as a model: genesis-4L-2.6M, a GPT-2 of four layers.
pub(crate) const MODEL: Folder = Folder::Embedded {
    name: "demo-model",
    files: files!("model": "config.json", "model.safetensors", "special_tokens_map.json",
                  "tokenizer.json", "tokenizer_config.json"),
};

/// `demo` as an SAE: TopK on `blocks.2.hook_resid_pre` of that model.
pub(crate) const SAE: Folder = Folder::Embedded {
    name: "demo-sae",
    files: files!("sae": "cfg.json", "sae_weights.safetensors"),
};

/// `demo` as a dataset: the text that both were trained on, chapter by chapter.
pub(crate) const CORPUS: &[u8] = include_bytes!("../assets/genesis-4l/genesis.parquet");
