//! `Converter`: the known formats, under SAELens' names.

use std::fmt;
use std::str::FromStr;

use candle_core::Tensor;
use sae_core::sae::SaeSpec;
use serde_json::{Map, Value};

use super::{At, Convert, Renamed};
use super::{
    circuit_tracer, connor_rob_hook_z, dictionary_learning, gemma_2, gemma_2_transcoder, gemma_3,
    linear, llama_scope, openai, qwen_scope, sae_lens, sparsify, temporal,
};
use crate::Error;

/// A known format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Converter {
    /// `sae_lens`
    SaeLens,
    /// `connor_rob_hook_z`
    ConnorRobHookZ,
    /// `gemma_2`
    Gemma2,
    /// `gemma_3`
    Gemma3,
    /// `llama_scope`
    LlamaScope,
    /// `llama_scope_r1_distill`
    LlamaScopeR1Distill,
    /// `dictionary_learning_1`
    DictionaryLearning1,
    /// `deepseek_r1`
    DeepseekR1,
    /// `qwen_scope`
    QwenScope,
    /// `sparsify`
    Sparsify,
    /// `gemma_2_transcoder`
    Gemma2Transcoder,
    /// `mwhanna_transcoder`
    MwhannaTranscoder,
    /// `mntss_clt_layer_transcoder`
    MntssCltLayerTranscoder,
    /// `temporal`
    Temporal,
    /// `goodfire`
    Goodfire,
    /// `openai`, which SAELens does not have.
    OpenAi,
}

impl Converter {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::SaeLens,
        Self::ConnorRobHookZ,
        Self::Gemma2,
        Self::Gemma3,
        Self::LlamaScope,
        Self::LlamaScopeR1Distill,
        Self::DictionaryLearning1,
        Self::DeepseekR1,
        Self::QwenScope,
        Self::Sparsify,
        Self::Gemma2Transcoder,
        Self::MwhannaTranscoder,
        Self::MntssCltLayerTranscoder,
        Self::Temporal,
        Self::Goodfire,
        Self::OpenAi,
    ];

    /// SAELens' name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SaeLens => "sae_lens",
            Self::ConnorRobHookZ => "connor_rob_hook_z",
            Self::Gemma2 => "gemma_2",
            Self::Gemma3 => "gemma_3",
            Self::LlamaScope => "llama_scope",
            Self::LlamaScopeR1Distill => "llama_scope_r1_distill",
            Self::DictionaryLearning1 => "dictionary_learning_1",
            Self::DeepseekR1 => "deepseek_r1",
            Self::QwenScope => "qwen_scope",
            Self::Sparsify => "sparsify",
            Self::Gemma2Transcoder => "gemma_2_transcoder",
            Self::MwhannaTranscoder => "mwhanna_transcoder",
            Self::MntssCltLayerTranscoder => "mntss_clt_layer_transcoder",
            Self::Temporal => "temporal",
            Self::Goodfire => "goodfire",
            Self::OpenAi => "openai",
        }
    }

    const fn format(self) -> &'static dyn Convert {
        match self {
            Self::SaeLens => &sae_lens::SaeLens,
            Self::ConnorRobHookZ => &connor_rob_hook_z::ConnorRobHookZ,
            Self::Gemma2 => &gemma_2::Gemma2,
            Self::Gemma3 => &gemma_3::Gemma3,
            Self::LlamaScope => &llama_scope::LlamaScope,
            Self::LlamaScopeR1Distill => &llama_scope::LlamaScopeR1Distill,
            Self::DictionaryLearning1 => &dictionary_learning::DictionaryLearning,
            Self::DeepseekR1 => &linear::DeepseekR1,
            Self::QwenScope => &qwen_scope::QwenScope,
            Self::Sparsify => &sparsify::Sparsify,
            Self::Gemma2Transcoder => &gemma_2_transcoder::Gemma2Transcoder,
            Self::MwhannaTranscoder => &circuit_tracer::Mwhanna,
            Self::MntssCltLayerTranscoder => &circuit_tracer::MntssClt,
            Self::Temporal => &temporal::Temporal,
            Self::Goodfire => &linear::Goodfire,
            Self::OpenAi => &openai::OpenAi,
        }
    }
}

impl fmt::Display for Converter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Converter {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|converter| converter.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(|converter| converter.as_str().to_owned()).to_vec();
            Error::UnknownConverter { name: name.to_owned(), known }
        })
    }
}

impl Convert for Converter {
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error> {
        self.format().config(at)
    }

    fn weights(&self, at: &At<'_>, spec: &SaeSpec) -> Result<Renamed, Error> {
        self.format().weights(at, spec)
    }

    fn log_sparsity(&self, at: &At<'_>, spec: &SaeSpec) -> Result<Option<Tensor>, Error> {
        self.format().log_sparsity(at, spec)
    }

    fn note(&self, at: &At<'_>) -> Option<String> {
        self.format().note(at)
    }
}
