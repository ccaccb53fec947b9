//! Fetching published sparse autoencoders and the models they belong to.
//!
//! [`Hub`] brings files from the Hugging Face hub into its shared cache, [`DirFetch`] takes them from a
//! local mirror; both are a [`Fetch`]. [`model_files`] and [`sae_files`] fetch everything that one
//! model or one SAE consists of, and return the folder it lies in.
//!
//! ```no_run
//! use sae_registry::{Hub, gguf_file, model_files, sae_files, tokenizer_files};
//!
//! let hub = Hub::from_env(); // HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE, ...
//! let model = model_files(&hub, "openai-community/gpt2", "main")?;
//! let sae = sae_files(&hub, "jbloom/GPT2-Small-SAEs-Reformatted", "blocks.7.hook_resid_pre", "main")?;
//! println!("{} {}", model.dir.display(), sae.dir.display());
//! # Ok::<(), sae_registry::Error>(())
//! ```
//!
//! [`Catalogue`] knows the SAEs that SAELens knows by name, what each reads, and how its model must be
//! loaded. [`Push`] publishes SAEs as SAELens does.
//!
//! A folder can stand in for the hub, for tests and for machines without a network:
//!
//! ```
//! use sae_registry::{DirFetch, Error, FetchError, sae_files, tokenizer_files};
//!
//! let mirror = DirFetch::new("no/such/mirror");
//! let absent = sae_files(&mirror, "owner/saes", "blocks.0.hook_resid_pre", "main");
//! assert!(matches!(absent, Err(Error::Fetch(FetchError::NotFound { .. }))));
//! ```

mod catalogue;
mod dir;
mod error;
pub mod format;
mod hub;
mod local;
mod pretrained;
mod push;
mod snapshot;

pub use catalogue::{Catalogue, Entry, ModelProcessing, Published, Query, Reason, Release, width};
pub use dir::DirFetch;
pub use error::Error;
pub use format::Converter;
pub use hub::{Hub, Progress};
pub use pretrained::{Options, from_pretrained, load, load_path, pretrained_spec, spec, spec_path};
pub use push::{Commit, Committed, Content, Push, Sent};
pub use sae_core::fetch::{Fetch, FetchError, RemoteFile};
pub use snapshot::{Snapshot, gguf_file, model_files, sae_files, tokenizer_files};
