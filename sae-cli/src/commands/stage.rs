//! `Stage`: the model, tokenizer and SAE that most commands work on, and how they are named.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use sae_core::model::HookedModel;
use sae_core::sae_lens::{LoadOptions, Loaded};
use sae_models::tokenizer::Tokenizer;
use sae_models::{Decoder, LoadOptions as ModelOptions, Processing, WeightDtype};

use crate::named;

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// The model: a folder, a GGUF file, a hub id, a name (see `sae models`), or `demo`.
    #[arg(long, default_value = named::DEMO)]
    pub(crate) model: String,
    /// The SAE: a folder, a hub id with a path, or `demo`, which is also meant where the model is.
    #[arg(long)]
    pub(crate) sae: Option<String>,
    /// The type in which weights stay in memory; sums are in f32.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) dtype: Dtype,
    /// Use the weights as published, without TransformerLens' default processing.
    #[arg(long)]
    pub(crate) no_processing: bool,
}

/// What `--dtype` may be.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Dtype {
    #[default]
    F32,
    F16,
    Bf16,
}

impl From<Dtype> for WeightDtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::BF16,
        }
    }
}

impl Names {
    /// The demo's model and SAE.
    pub(crate) fn demo() -> Self {
        let (model, sae) = (named::DEMO.to_owned(), None);
        Self { model, sae, dtype: Dtype::F32, no_processing: false }
    }

    /// What the SAE is called, if one is named or meant.
    pub(crate) fn sae(&self) -> Option<&str> {
        let meant = (self.model == named::DEMO).then_some(named::DEMO);
        self.sae.as_deref().or(meant)
    }
}

/// The model and its tokenizer.
pub(crate) fn model(names: &Names) -> Result<(Decoder, Arc<Tokenizer>)> {
    let processing = if names.no_processing { Processing::NONE } else { Processing::DEFAULT };
    let folder = named::model(&names.model)?;
    let options = ModelOptions { processing, weights: names.dtype.into() };
    let model = Decoder::load_with(&folder, options)?;
    let tokenizer = Arc::new(Tokenizer::load(&named::tokenizer(&folder)?, model.spec().n_ctx)?);
    Ok((model, tokenizer))
}

/// A model, its tokenizer and an SAE.
pub(crate) struct Stage {
    pub(crate) model: Decoder,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) sae: Loaded,
}

impl Stage {
    pub(crate) fn load(names: &Names) -> Result<Self> {
        let Some(name) = names.sae() else {
            bail!("model `{}` without an SAE: name one with --sae", names.model);
        };
        let (model, tokenizer) = model(names)?;
        let sae = sae_core::sae_lens::load(&named::sae(name)?, LoadOptions::default())?;
        for note in &sae.report.notes {
            eprintln!("note: {name}: {note}");
        }
        Ok(Self { model, tokenizer, sae })
    }
}
