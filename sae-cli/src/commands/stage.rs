//! `Stage`: the model, tokenizer and SAE that most commands work on, and how they are named.

use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use sae_core::model::HookedModel;
use sae_core::sae_lens::{LoadOptions, Loaded};
use sae_models::tokenizer::Tokenizer;
use sae_models::{Decoder, Processing};

use crate::named;

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// The model: a folder, a hub id, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) model: String,
    /// The SAE: a folder, a hub id with a path, or `demo`.
    #[arg(long, default_value = "demo")]
    pub(crate) sae: String,
    /// Use the weights as published, without TransformerLens' default processing.
    #[arg(long)]
    pub(crate) no_processing: bool,
}

/// A model, its tokenizer and an SAE.
pub(crate) struct Stage {
    pub(crate) model: Decoder,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) sae: Loaded,
}

impl Stage {
    pub(crate) fn load(names: &Names) -> Result<Self> {
        let processing = if names.no_processing { Processing::NONE } else { Processing::DEFAULT };
        let folder = named::model(&names.model)?;
        let model = Decoder::load(&folder, processing)?;
        let tokenizer = Arc::new(Tokenizer::load(&folder, model.spec().n_ctx)?);
        let sae = sae_core::sae_lens::load(&named::sae(&names.sae)?, LoadOptions::default())?;
        for note in &sae.report.notes {
            eprintln!("note: {}: {note}", names.sae);
        }
        Ok(Self { model, tokenizer, sae })
    }
}
