//! Loading a model from a folder in Hugging Face layout.

use sae_core::io::Folder;

use crate::Result;
use crate::decoder::Decoder;
use crate::family;
use crate::processing::{Processing, process};

impl Decoder {
    /// Load the model of a folder: `config.json` and `model.safetensors` (or its shards).
    ///
    /// `Processing::DEFAULT` gives the numbers of TransformerLens' `from_pretrained`,
    /// `Processing::NONE` those of `from_pretrained_no_processing` and of Hugging Face.
    ///
    /// # Errors
    /// A file is missing or damaged, a field or tensor is not what it should be, or the family is
    /// not built.
    pub fn load(folder: &Folder, processing: Processing) -> Result<Self> {
        let (config, mut weights) = family::read(folder)?;
        process(&mut weights, &config, processing)?;
        Ok(Self::new(config, weights, processing))
    }
}
