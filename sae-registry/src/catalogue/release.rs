//! `Release`, `Entry`, `Published`: what the catalogue says about a set of SAEs and about each of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sae_core::hook::HookName;
use serde::Serialize;
use serde_json::{Map, Value};

use super::processing::{self, ModelProcessing, Reason};
use super::{place, text};
use crate::Error;

/// SAEs that were published together.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// SAELens' name of the release.
    pub name: String,
    /// The repository on the hub.
    pub repo_id: String,
    /// The model, as SAELens names it.
    pub model: String,
    /// SAELens' name of the converter; `None` for its own format.
    pub conversion: Option<String>,
    /// Fields that replace those of each configuration.
    pub overrides: Map<String, Value>,
    /// Addresses of `model`, `dashboards` and `publication`.
    pub links: BTreeMap<String, String>,
    /// How many SAEs there are.
    pub n_saes: usize,
    /// What a path is when an entry gives none: `{}` stands for its id.
    pub(super) template: String,
    /// The lines of the entries.
    pub(super) body: Cow<'static, str>,
}

impl Release {
    /// The SAEs, in SAELens' order.
    ///
    /// # Errors
    /// [`Error::CatalogueLine`] for text that is not of the catalogue's form.
    pub fn saes(&self) -> Result<Vec<Entry>, Error> {
        text::entries(self)
    }
}

/// One SAE of a release.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Entry {
    /// Its name within the release.
    pub id: String,
    /// The folder or file in the repository, as the release's converter understands it.
    pub path: String,
    /// Latents that are active on a token, on average; `None` if nobody said.
    pub l0: Option<f64>,
    /// The share of the variance that is explained.
    pub variance_explained: Option<f64>,
    /// Neuronpedia's name, `{model}/{layer}-{source}`.
    pub neuronpedia_id: Option<String>,
    /// The factor that brings activations to the norm that was trained on
    /// (`normalize_activations = "expected_average_only_in"`).
    pub norm_scaling_factor: Option<f64>,
}

/// One SAE and the release it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct Published<'a> {
    /// The release.
    pub release: &'a Release,
    /// The SAE.
    pub entry: Entry,
}

impl Published<'_> {
    /// The place in the model that the SAE reads, as far as names tell; the SAE's own configuration is
    /// what counts.
    #[must_use]
    pub fn hook(&self) -> Option<HookName> {
        place::hook(self.release, &self.entry)
    }

    /// The place that a transcoder writes; `None` for SAEs, which write where they read.
    #[must_use]
    pub fn hook_out(&self) -> Option<HookName> {
        place::hook_out(self.release, &self.entry)
    }

    /// The number of latents, as far as names tell.
    #[must_use]
    pub fn width(&self) -> Option<u64> {
        place::width(self.release, &self.entry)
    }

    /// Which of TransformerLens' weight processing the model needs for this SAE, and how that is known.
    #[must_use]
    pub fn processing(&self) -> (ModelProcessing, Reason) {
        processing::of(self.release)
    }

    /// Fields that replace those of the SAE's configuration, with its Neuronpedia id.
    #[must_use]
    pub fn overrides(&self) -> Map<String, Value> {
        let mut fields = self.release.overrides.clone();
        if let Some(id) = &self.entry.neuronpedia_id {
            fields.insert("neuronpedia_id".to_owned(), Value::String(id.clone()));
        }
        fields
    }
}
