//! Which weight processing the model needs so that an SAE reads what it was trained on.
//!
//! TransformerLens can simplify a model's weights when it loads them; on models with LayerNorm that
//! changes what SAEs read (it takes the mean over `d_model` out of the residual stream, and the value
//! bias out of `hook_z`). SAELens loads models as they were published, unless the SAE's
//! `model_from_pretrained_kwargs` ask for more.

use serde::Serialize;
use serde_json::Value;

use super::release::Release;

/// Keyword arguments of TransformerLens' `from_pretrained`, beyond `from_pretrained_no_processing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelProcessing {
    /// Fold gain and bias of each norm into what reads it.
    pub fold_ln: bool,
    /// Centre what writes to the residual stream.
    pub center_writing_weights: bool,
    /// Centre the unembedding over the vocabulary.
    pub center_unembed: bool,
    /// Move the value biases into the output biases.
    pub fold_value_biases: bool,
}

impl ModelProcessing {
    /// The model as it was published.
    pub const NONE: Self = Self {
        fold_ln: false,
        center_writing_weights: false,
        center_unembed: false,
        fold_value_biases: false,
    };
    /// Everything that `from_pretrained` does unless told otherwise.
    pub const DEFAULT: Self = Self {
        fold_ln: true,
        center_writing_weights: true,
        center_unembed: true,
        fold_value_biases: true,
    };

    /// What `model_from_pretrained_kwargs` of a configuration ask for; keys of other meaning are left
    /// to others.
    #[must_use]
    pub fn from_kwargs(kwargs: &serde_json::Map<String, Value>) -> Self {
        let is_set = |key: &str| kwargs.get(key).and_then(Value::as_bool).unwrap_or(false);
        Self {
            fold_ln: is_set("fold_ln"),
            center_writing_weights: is_set("center_writing_weights"),
            center_unembed: is_set("center_unembed"),
            fold_value_biases: is_set("fold_value_biases"),
        }
    }
}

/// How it is known which processing an SAE needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// SAELens' catalogue asks for it.
    Stated,
    /// SAELens' catalogue asks for none; the SAEs were trained on a model that TransformerLens had
    /// processed.
    Trained,
    /// Nothing says otherwise: the model as it was published, as SAELens loads it.
    AsPublished,
}

/// Releases that were trained on a model processed by `HookedTransformer.from_pretrained`, without
/// SAELens' catalogue saying so: the attention SAEs of Kissane et al. (`hook_z` without the value bias)
/// and the end-to-end SAEs of Braun et al. (`load_tlens_model` of their code, arXiv 2405.12241).
const TRAINED_ON_PROCESSED: [&str; 7] = [
    "gpt2-small-hook-z-kk",
    "gpt2-small-res_sce-ajt",
    "gpt2-small-res_scefr-ajt",
    "gpt2-small-res_scl-ajt",
    "gpt2-small-res_sle-ajt",
    "gpt2-small-res_slefr-ajt",
    "gpt2-small-res_sll-ajt",
];

/// What the SAEs of a release need.
pub(super) fn of(release: &Release) -> (ModelProcessing, Reason) {
    let kwargs = release.overrides.get("model_from_pretrained_kwargs").and_then(Value::as_object);
    if let Some(kwargs) = kwargs {
        (ModelProcessing::from_kwargs(kwargs), Reason::Stated)
    } else if TRAINED_ON_PROCESSED.contains(&release.name.as_str()) {
        (ModelProcessing::DEFAULT, Reason::Trained)
    } else {
        (ModelProcessing::NONE, Reason::AsPublished)
    }
}
