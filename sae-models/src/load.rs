//! Loading a model: a folder in Hugging Face layout, or a GGUF file.

use sae_core::io::Folder;

use crate::Result;
use crate::decoder::Decoder;
use crate::family;
use crate::keep::Keep;
use crate::processing::{Processing, process};

/// How to load a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The simplifications to make.
    pub processing: Processing,
    /// In what form matrices stay in memory. Where it is not f32, processing leaves them as they are, and is done to
    /// what they read and write.
    pub weights: Keep,
}

impl Decoder {
    /// Load a model in f32. As [`Decoder::load_with`].
    ///
    /// # Errors
    /// As [`Decoder::load_with`].
    pub fn load(folder: &Folder, processing: Processing) -> Result<Self> {
        Self::load_with(folder, LoadOptions { processing, ..LoadOptions::default() })
    }

    /// Load the model of a folder: `config.json` with `model.safetensors` or its shards, with
    /// `pytorch_model.bin` or its shards, or one GGUF file. `folder` may also be the path of a GGUF
    /// file.
    ///
    /// `Processing::DEFAULT` gives the numbers of TransformerLens' `from_pretrained`,
    /// `Processing::NONE` those of `from_pretrained_no_processing` and of Hugging Face.
    ///
    /// # Errors
    /// A file is missing or damaged, a field or tensor is not what it should be, or the family is
    /// not built.
    pub fn load_with(folder: &Folder, options: LoadOptions) -> Result<Self> {
        let (config, mut weights) = family::read(folder, options.weights)?;
        process(&mut weights, &config, options.processing)?;
        Ok(Self::new(config, weights, options.processing))
    }
}
