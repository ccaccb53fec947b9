//! Names of models: what TransformerLens and Neuronpedia call them, and where they are on the hub.

mod table;

use crate::{Error, Result};

/// A model that is known by name. Any other of a family that is built loads as well, by its folder or
/// hub id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownModel {
    /// The repository on the hub.
    pub hub_id: &'static str,
    /// The value of `model_type`: one of [`crate::FAMILIES`].
    pub family: &'static str,
    /// What else it is called, the most usual name first (TransformerLens' aliases, Neuronpedia's ids).
    pub aliases: &'static [&'static str],
    /// Blocks.
    pub n_layers: u16,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Attention heads.
    pub n_heads: usize,
    /// Key/value heads.
    pub n_key_value_heads: usize,
    /// Width of one head.
    pub d_head: usize,
    /// Width of the MLP; models of attention alone have none, whatever this says.
    pub d_mlp: usize,
    /// The context that TransformerLens gives it, which for some is shorter than its own.
    pub n_ctx: usize,
    /// Entries of the vocabulary.
    pub d_vocab: usize,
}

const fn model(
    hub_id: &'static str,
    family: &'static str,
    aliases: &'static [&'static str],
    [n_layers, d_model, n_heads, n_key_value_heads, d_head, d_mlp, n_ctx, d_vocab]: [usize; 8],
) -> KnownModel {
    #[allow(clippy::cast_possible_truncation)] // no model has so many layers
    let n_layers = n_layers as u16;
    KnownModel {
        hub_id,
        family,
        aliases,
        n_layers,
        d_model,
        n_heads,
        n_key_value_heads,
        d_head,
        d_mlp,
        n_ctx,
        d_vocab,
    }
}

/// Every model that is known by name, by family.
pub fn known_models() -> &'static [KnownModel] {
    table::TABLE
}

impl KnownModel {
    /// The model that `name`, a hub id or an alias in any case, means.
    ///
    /// ```
    /// let gpt2 = sae_models::KnownModel::named("gpt2-small")?;
    /// assert_eq!((gpt2.hub_id, gpt2.n_layers), ("openai-community/gpt2", 12));
    /// # Ok::<(), sae_models::Error>(())
    /// ```
    ///
    /// # Errors
    /// None: says which names are near.
    pub fn named(name: &str) -> Result<&'static Self> {
        let found = known_models()
            .iter()
            .find(|model| model.names().any(|known| known.eq_ignore_ascii_case(name)));
        found.ok_or_else(|| Error::UnknownModel { got: name.to_owned(), nearest: nearest(name) })
    }

    /// Aliases and hub id.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.aliases.iter().copied().chain([self.hub_id])
    }
}

/// The three names most like `name`, best first.
fn nearest(name: &str) -> Vec<&'static str> {
    const SHOWN: usize = 3;
    let name = name.to_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&name, &known.to_lowercase());
    let mut all: Vec<(f64, &str)> = known_models()
        .iter()
        .filter_map(|model| {
            let scored = model.names().map(|known| (likeness(known), known));
            scored.max_by(|a, b| a.0.total_cmp(&b.0))
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.into_iter().take(SHOWN).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_means_one_model_of_a_family_that_is_built() {
        let mut seen = BTreeSet::new();
        for model in known_models() {
            assert!(crate::FAMILIES.contains(&model.family), "{}", model.hub_id);
            assert_eq!(model.hub_id.split('/').count(), 2, "{}", model.hub_id);
            for name in model.names() {
                assert!(seen.insert(name.to_lowercase()), "{name} is there twice");
                assert_eq!(KnownModel::named(name).unwrap().hub_id, model.hub_id);
            }
            assert!(!model.aliases.is_empty() && model.n_layers > 0, "{}", model.hub_id);
            assert!(model.n_heads.is_multiple_of(model.n_key_value_heads), "{}", model.hub_id);
        }
    }

    #[test]
    fn a_name_that_is_near_is_suggested() {
        let error = KnownModel::named("gpt2-smal").unwrap_err().to_string();
        assert!(error.contains("`gpt2-small`"), "{error}");
        let error = KnownModel::named("pythia-70m-dedupd").unwrap_err().to_string();
        assert!(error.contains("`pythia-70m-deduped`"), "{error}");
    }
}
