//! `Stage`: the model, tokenizer and SAE that most commands work on, and how they are named.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use sae_core::model::HookedModel;
use sae_core::sae_lens::Loaded;
use sae_models::tokenizer::Tokenizer;
use sae_models::{Decoder, Keep, KnownModel, LoadOptions as ModelOptions, Processing, WeightDtype};
use sae_registry::Published;

use crate::named;
use crate::published::{SaeName, Told};

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// The model: a folder, a GGUF file, a hub id, a name (see `sae models`), or `demo`; the model of the
    /// SAE if that is one of the catalogue, else the demo.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The SAE: a folder or file of any known format, `RELEASE:ID` (see `sae list`), a hub id with a path,
    /// or `demo`, which is also meant where the model is.
    #[arg(long)]
    pub(crate) sae: Option<String>,
    #[command(flatten)]
    pub(crate) weights: Weights,
}

/// How the weights of the model are kept.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Weights {
    /// In what form weights stay in memory; sums are in f32. `stored` leaves halves, and the integers of a quantised
    /// GGUF file, as they are: the same values in the least memory.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) dtype: Dtype,
    /// Use the weights as published, without TransformerLens' default processing (an SAE of the catalogue
    /// says which its model needs).
    #[arg(long)]
    pub(crate) no_processing: bool,
}

impl Weights {
    /// The model of that name and its tokenizer, processed as `wanted` unless that is switched off.
    pub(crate) fn load(self, name: &str, wanted: Processing) -> Result<(Decoder, Arc<Tokenizer>)> {
        let processing = if self.no_processing { Processing::NONE } else { wanted };
        let folder = named::model(name)?;
        let options = ModelOptions { processing, weights: self.dtype.into() };
        let model = Decoder::load_with(&folder, options)?;
        let tokenizer = Tokenizer::load(&named::tokenizer(&folder)?, model.spec().n_ctx)?;
        Ok((model, Arc::new(tokenizer)))
    }

    /// A model as caches name it: processing and rounding change activations.
    pub(crate) fn named(self, model: &str) -> String {
        let rounded = match self.dtype {
            Dtype::F32 => " f32",
            Dtype::F16 => " f16",
            Dtype::Bf16 => " bf16",
            Dtype::Stored => "",
        };
        format!("{model} processed:{}{rounded}", !self.no_processing)
    }
}

/// What `--dtype` may be.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Dtype {
    F32,
    F16,
    Bf16,
    #[default]
    Stored,
}

impl From<Dtype> for Keep {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => WeightDtype::F32.into(),
            Dtype::F16 => WeightDtype::F16.into(),
            Dtype::Bf16 => WeightDtype::BF16.into(),
            Dtype::Stored => Self::Stored,
        }
    }
}

impl Names {
    /// The demo's model and SAE.
    pub(crate) fn demo() -> Self {
        Self { model: None, sae: None, weights: Weights::default() }
    }

    /// What the SAE is called, if one is named or meant.
    pub(crate) fn sae(&self) -> Option<&str> {
        let demo = self.model.as_deref().is_none_or(|model| model == named::DEMO);
        self.sae.as_deref().or(demo.then_some(named::DEMO))
    }
}

/// The model and its tokenizer.
pub(crate) fn model(names: &Names) -> Result<(Decoder, Arc<Tokenizer>)> {
    names.weights.load(names.model.as_deref().unwrap_or(named::DEMO), Processing::DEFAULT)
}

/// A model, its tokenizer and an SAE.
pub(crate) struct Stage {
    /// What the model is called, and the SAE.
    pub(crate) called: (String, String),
    pub(crate) model: Decoder,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) sae: Loaded,
}

impl Stage {
    pub(crate) fn load(names: &Names) -> Result<Self> {
        let Some(sae_name) = names.sae() else {
            let model = names.model.as_deref().unwrap_or_default();
            bail!("model `{model}` without an SAE: name one with --sae");
        };
        let name = SaeName::parse(sae_name)?;
        let catalogue = named::catalogue(None)?;
        let published = name.published(&catalogue)?;
        let (model_name, processing) = match &published {
            Some(sae) => meant(names, sae),
            None => {
                (names.model.clone().unwrap_or_else(|| named::DEMO.to_owned()), Processing::DEFAULT)
            }
        };
        let (model, tokenizer) = names.weights.load(&model_name, processing)?;
        let sae = name.load(&Told::default())?;
        Ok(Self { called: (model_name, sae_name.to_owned()), model, tokenizer, sae })
    }
}

/// The model of a published SAE and its processing, as SAELens would load it; said on standard error.
fn meant(names: &Names, sae: &Published<'_>) -> (String, Processing) {
    let (release, of) = (&sae.release.name, &sae.release.model);
    let needs = sae.processing().0;
    let processing = Processing {
        fold_ln: needs.fold_ln,
        center_writing_weights: needs.center_writing_weights,
        center_unembed: needs.center_unembed,
        fold_value_biases: needs.fold_value_biases,
    };
    if !names.weights.no_processing {
        let how = if processing == Processing::NONE { "as published" } else { "processed" };
        eprintln!("note: {release} was trained on {of} with its weights {how}: so they are here");
    } else if processing != Processing::NONE {
        eprintln!("warning: {release} was trained on {of} with its weights processed");
    }
    let id = |name: &str| KnownModel::named(name).map_or(name.to_owned(), |m| m.hub_id.to_owned());
    let model = names.model.clone().unwrap_or_else(|| of.clone());
    // A folder or file may hold any model; the SAE says if it does not fit.
    if !Path::new(&model).exists() && !id(&model).eq_ignore_ascii_case(&id(of)) {
        eprintln!("warning: {release} was trained on {of}, the model here is {model}");
    }
    (model, processing)
}
