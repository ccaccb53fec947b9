//! SAELens directories: `cfg.json`, `sae_weights.safetensors`, maybe `sparsity.safetensors`.
//!
//! Read: version 6, and the layouts of versions 3 to 5. Written: version 6, and 5 where 6 has no words. The legacy rules are
//! those of SAELens' `handle_config_defaulting` (`sae_lens/loading/pretrained_sae_loaders.py`), less
//! its two silent errors: a `tanh-relu` SAE stays one, and a finetuned scaling factor is kept.

mod assemble;
mod config;
mod legacy;
mod load;
mod older;
mod save;

pub use assemble::assemble;
pub use config::parse_config;
pub use load::{LoadOptions, LoadReport, Loaded, load};
pub use older::caveat;
pub use save::{config, save};

/// The configuration.
pub const CFG_FILE: &str = "cfg.json";
/// The weights.
pub const WEIGHTS_FILE: &str = "sae_weights.safetensors";
/// log10 of how often each latent fires.
pub const SPARSITY_FILE: &str = "sparsity.safetensors";
/// The version whose layout is written.
pub const WRITTEN_VERSION: &str = "6.54.12";
