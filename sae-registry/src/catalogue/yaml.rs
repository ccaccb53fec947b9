//! `pretrained_saes.yaml`, SAELens' own form of the catalogue, and what has to be repaired in it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::release::{Entry, Release};
use crate::Error;

/// Releases whose `model` contradicts their repository: name, what stands there, what is meant. These
/// SAEs were trained on the instruction-tuned model, as the `-canonical` release of the same files says.
const MODELS: [(&str, &str, &str); 1] = [("gemma-scope-9b-it-res", "gemma-2-9b", "gemma-2-9b-it")];

/// A release as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRelease {
    repo_id: String,
    model: String,
    conversion_func: Option<String>,
    config_overrides: Option<Map<String, Value>>,
    links: Option<BTreeMap<String, String>>,
    saes: Vec<RawEntry>,
}

/// An SAE as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    id: String,
    path: PathOrLayer,
    l0: Option<f64>,
    variance_explained: Option<f64>,
    neuronpedia: Option<String>,
    norm_scaling_factor: Option<f64>,
    // An entry of `gpt2-small-res_scefr-ajt` is indented so that it holds its whole release again.
    repo_id: Option<String>,
    #[serde(rename = "model")]
    _model: Option<String>,
    #[serde(rename = "conversion_func")]
    _conversion_func: Option<String>,
    #[serde(rename = "links")]
    _links: Option<BTreeMap<String, String>>,
    saes: Option<Vec<RawEntry>>,
}

/// A path that is a layer's number is written without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum PathOrLayer {
    Layer(u32),
    Path(String),
}

impl From<PathOrLayer> for String {
    fn from(path: PathOrLayer) -> Self {
        match path {
            PathOrLayer::Layer(layer) => layer.to_string(),
            PathOrLayer::Path(path) => path,
        }
    }
}

/// A mapping whose order is kept.
struct Ordered(Vec<(String, RawRelease)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping from names to releases")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Ordered(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The releases of the file, and their entries.
pub(super) fn parse(yaml: &str, path: &Path) -> Result<Vec<(Release, Vec<Entry>)>, Error> {
    let releases: Ordered = serde_saphyr::from_str(yaml)
        .map_err(|e| Error::CatalogueYaml { path: path.to_owned(), source: Box::new(e) })?;
    releases.0.into_iter().map(|(name, raw)| release(name, raw, path)).collect()
}

fn release(name: String, raw: RawRelease, path: &Path) -> Result<(Release, Vec<Entry>), Error> {
    let repo_id = raw.repo_id;
    let mut entries = Vec::with_capacity(raw.saes.len());
    let mut nested = Vec::new();
    for mut entry in raw.saes {
        let same_repository = entry.repo_id.as_ref().is_none_or(|inner| *inner == repo_id);
        match entry.saes.take() {
            Some(inner) if same_repository => nested.extend(inner),
            None if entry.repo_id.is_none() => {}
            _ => {
                let (path, id) = (path.to_owned(), entry.id);
                return Err(Error::CatalogueEntry { path, release: name, id });
            }
        }
        entries.push(Entry::from(entry));
    }
    // The release that stands inside an entry says again what its own lines say; what it alone says
    // counts too.
    for inner in nested.into_iter().map(Entry::from) {
        if !entries.iter().any(|entry| entry.id == inner.id) {
            entries.push(inner);
        }
    }
    let mended = MODELS.iter().find(|(of, wrong, _)| *of == name && *wrong == raw.model);
    let model = mended.map_or(raw.model, |(_, _, right)| (*right).to_owned());
    let release = Release {
        name,
        repo_id,
        model,
        conversion: raw.conversion_func,
        overrides: raw.config_overrides.unwrap_or_default(),
        links: raw.links.unwrap_or_default(),
        n_saes: entries.len(),
        template: String::new(),
        body: Cow::Borrowed(""),
    };
    Ok((release, entries))
}

impl From<RawEntry> for Entry {
    fn from(raw: RawEntry) -> Self {
        Self {
            id: raw.id,
            path: raw.path.into(),
            l0: raw.l0,
            variance_explained: raw.variance_explained,
            neuronpedia_id: raw.neuronpedia,
            norm_scaling_factor: raw.norm_scaling_factor,
        }
    }
}
