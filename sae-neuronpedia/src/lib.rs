//! Features on [Neuronpedia](https://www.neuronpedia.org): their names and URLs, as SAELens makes them,
//! and calls that ask for them.
//!
//! A [`FeatureRef`] names one feature of one published SAE. From it come the address of its
//! [dashboard](FeatureRef::dashboard_url), the address that puts the dashboard
//! [into a notebook](FeatureRef::embed_url), and [`quick_list_url`], a page of several features.
//! A [`Client`] looks features up, searches explanations, steers and makes lists; nothing else sends a
//! request.
//!
//! ```
//! use sae_neuronpedia::{FeatureRef, TEMPORARY_LIST, quick_list_url};
//!
//! let feature: FeatureRef = "gpt2-small/7-res-jb/123".parse()?;
//! assert_eq!(feature.sae_id(), "7-res-jb");
//! assert_eq!(feature.dashboard_url(), "https://neuronpedia.org/gpt2-small/7-res-jb/123");
//!
//! let page = quick_list_url(TEMPORARY_LIST, &[feature]);
//! assert!(page.starts_with("https://neuronpedia.org/quick-list/?name=temporary_list&features=%5B"));
//! # Ok::<(), sae_neuronpedia::Error>(())
//! ```

mod answer;
mod call;
mod client;
mod error;
mod feature;
mod python;
mod quick_list;
mod search;
pub mod transport;
mod types;
mod url;

pub use call::CallError;
pub use client::{Client, HOST, KEY_VARIABLE, Retries};
pub use error::Error;
pub use feature::FeatureRef;
pub use quick_list::{QUICK_LIST_MAX, TEMPORARY_LIST, quick_list_url, sae_lens_quick_list_url};
pub use search::Hits;
pub use types::{Activation, Explanation, Feature, Hit, List, SteerAnswer, SteerRequest, Steered};
pub use url::SITE;
