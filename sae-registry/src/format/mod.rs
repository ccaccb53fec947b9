//! The formats in which SAEs are published: each becomes SAELens' configuration and tensors.
//!
//! A format is a [`Convert`]: [`Converter`] names those that SAELens knows, and OpenAI's; others can be
//! written outside this crate. Facts of the formats: SAELens'
//! `loading/pretrained_sae_loaders.py` (6.54), and the code of those who wrote the files. Where SAELens
//! is in error the file of the format says so, and follows the latter.

mod at;
mod circuit_tracer;
mod connor_rob_hook_z;
mod converter;
mod cross_layer;
mod detect;
mod dictionary_learning;
mod gemma_2;
mod gemma_2_transcoder;
mod gemma_3;
mod linear;
mod llama_scope;
mod names;
mod openai;
mod qwen_scope;
mod renamed;
mod sae_lens;
mod sparsify;
mod temporal;

use candle_core::Tensor;
use sae_core::sae::SaeSpec;
use serde_json::{Map, Value};

pub use at::At;
pub use converter::Converter;
pub use cross_layer::{PublishedCrossLayer, load_cross_layer, load_cross_layer_path};
pub use detect::detect;
pub use renamed::{Recipe, Renamed};

use crate::Error;

/// What is said of one layer of a cross-layer transcoder.
const SUMMED_DECODERS: &str = "one layer of a cross-layer transcoder: its decoders for all layers are \
                               added up, so its latents are right and its output is not a reconstruction";

/// How the SAEs of one format become SAELens'.
pub trait Convert: Send + Sync {
    /// The configuration in SAELens' terms, of any of its versions.
    ///
    /// # Errors
    /// A file is missing or wrong, or the names do not tell what the files leave out.
    fn config(&self, at: &At<'_>) -> Result<Map<String, Value>, Error>;

    /// The weights under SAELens' names; `spec` is what the configuration came to.
    ///
    /// # Errors
    /// A file is missing or wrong.
    fn weights(&self, at: &At<'_>, spec: &SaeSpec) -> Result<Renamed, Error>;

    /// log10 of how often each latent fires, `[d_sae]`, where it is published.
    ///
    /// # Errors
    /// The file is wrong.
    fn log_sparsity(&self, _at: &At<'_>, _spec: &SaeSpec) -> Result<Option<Tensor>, Error> {
        Ok(None)
    }

    /// What a user should know about what was loaded.
    fn note(&self, _at: &At<'_>) -> Option<String> {
        None
    }
}

/// The object that `json!` made.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}
