//! Quick lists: pages of several features that exist only in their address.

use serde::Serialize;

use crate::python::{json_dumps, quote};
use crate::url::SITE;
use crate::{Error, FeatureRef};

/// The name that SAELens gives a quick list unless told otherwise.
pub const TEMPORARY_LIST: &str = "temporary_list";

/// The server answers 404 for a longer list, and for an empty one.
pub const QUICK_LIST_MAX: usize = 150;

/// One entry of a list; the server wants the index as a string.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    model_id: &'a str,
    layer: &'a str,
    index: String,
}

/// The address of a page that shows `features`, as SAELens' `get_neuronpedia_quick_list` makes it for
/// an SAE whose `model_name` is the model id of its `neuronpedia_id`.
#[must_use]
pub fn quick_list_url(name: &str, features: &[FeatureRef]) -> String {
    url(
        name,
        features.iter().map(|f| Entry {
            model_id: f.model_id(),
            layer: f.sae_id(),
            index: f.index().to_string(),
        }),
    )
}

/// The address that SAELens' `get_neuronpedia_quick_list` makes, whatever the model is called.
///
/// SAELens writes `cfg.metadata.model_name` where the server expects its own model id, so for an SAE
/// on `google/gemma-2-2b` the page does not load; [`quick_list_url`] makes one that does.
///
/// # Errors
/// [`Error::SourceParts`] if `neuronpedia_id` has no slash.
pub fn sae_lens_quick_list_url(
    name: &str,
    model_name: &str,
    neuronpedia_id: &str,
    indices: &[u32],
) -> Result<String, Error> {
    // Python: `neuronpedia_id.split("/")[1]`.
    let Some(layer) = neuronpedia_id.split('/').nth(1) else {
        return Err(Error::SourceParts { text: neuronpedia_id.to_owned() });
    };
    Ok(url(
        name,
        indices.iter().map(|i| Entry { model_id: model_name, layer, index: i.to_string() }),
    ))
}

fn url<'a>(name: &str, entries: impl Iterator<Item = Entry<'a>>) -> String {
    let entries: Vec<_> = entries.collect();
    // Strings written to memory: there is no writer and no map key that could fail.
    let features = json_dumps(&entries).expect("an array of strings is JSON");
    format!("{SITE}/quick-list/?name={}&features={}", quote(name), quote(&features))
}
