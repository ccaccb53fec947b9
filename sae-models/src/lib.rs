//! Transformers on candle that report, and accept changes at, every TransformerLens hook.
//!
//! ```no_run
//! use sae_core::hook::HookName;
//! use sae_core::io::Folder;
//! use sae_core::model::{Batch, HookedModelExt};
//! use sae_models::{Decoder, Processing};
//!
//! let model = Decoder::load(&Folder::disk("gpt2"), Processing::DEFAULT)?;
//! let resid = model.activations(&Batch::single(&[50256, 15496])?, HookName::resid_pre(6))?;
//! assert_eq!(resid.dims(), [1, 2, 768]);
//! # Ok::<(), sae_models::Error>(())
//! ```

mod attention;
mod attribution;
mod block;
mod checkpoint;
mod config;
mod decoder;
mod embed;
mod error;
mod family;
mod flags;
mod generate;
mod gguf;
mod heads;
mod keep;
mod kv_cache;
mod linear;
mod load;
mod loss;
mod mask;
mod mlp;
mod names;
mod norm;
mod parameters;
mod places;
mod positions;
mod processing;
mod random;
mod report;
mod rotary;
pub mod sampling;
mod test_prompt;
pub mod tokenizer;
mod unembed;
mod weights;

pub use attribution::{CachedRun, Stack, StackOptions, Sublayers};
pub use config::{DecoderConfig, LayerAttention, MlpActivation};
pub use decoder::Decoder;
pub use error::{Error, Result};
pub use family::FAMILIES;
pub use flags::Flags;
pub use generate::{GenerateOptions, StopAt};
pub use keep::Keep;
pub use kv_cache::KvCache;
pub use load::LoadOptions;
pub use loss::{loss, loss_per_token};
pub use names::{KnownModel, known_models};
pub use processing::Processing;
pub use report::{Misshapen, TensorReport};
pub use rotary::{Pairs, Rotary};
pub use sae_core::io::WeightDtype;
pub use test_prompt::{Judged, Step, TestPrompt, Verdict, test_prompt};
