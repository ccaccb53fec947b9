//! Addresses of one feature's page.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::FeatureRef;

/// The site, as SAELens writes it; it leads on to `www.neuronpedia.org`.
pub const SITE: &str = "https://neuronpedia.org";

/// What JavaScript's `encodeURIComponent` escapes.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

impl FeatureRef {
    /// The page of this feature, as SAELens' `open_neuronpedia_feature_dashboard` opens it.
    #[must_use]
    pub fn dashboard_url(&self) -> String {
        let segment = |id| utf8_percent_encode(id, SEGMENT);
        format!("{SITE}/{}/{}/{}", segment(self.model_id()), segment(self.sae_id()), self.index())
    }

    /// The path of this feature in Neuronpedia's API.
    pub(crate) fn api_path(&self) -> String {
        let segment = |id| utf8_percent_encode(id, SEGMENT);
        let (model, sae) = (segment(self.model_id()), segment(self.sae_id()));
        format!("/api/feature/{model}/{sae}/{}", self.index())
    }

    /// The same page without its frame, as the SAELens tutorials show it in a notebook.
    #[must_use]
    pub fn embed_url(&self) -> String {
        let page = self.dashboard_url();
        // The server ignores `height`; the tutorials have it.
        format!("{page}?embed=true&embedexplanation=true&embedplots=true&embedtest=true&height=300")
    }
}
