//! `Query`: which SAEs are wanted.

use sae_core::hook::HookName;

use super::release::{Published, Release};

/// A description of SAEs; what is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Query {
    /// The model: SAELens' whole name, or what follows the owner in it; upper and lower case are alike.
    pub model: Option<String>,
    /// A part of the release's name.
    pub release: Option<String>,
    /// A part of the hook's name, such as `hook_resid_post` or `blocks.7.`.
    pub hook: Option<String>,
    /// The layer.
    pub layer: Option<u16>,
    /// The number of latents, exactly.
    pub width: Option<u64>,
    /// The least and the most latents active on a token; SAEs that do not say are not taken.
    pub l0: Option<(f64, f64)>,
    /// The beginning of Neuronpedia's name, such as `gpt2-small/7-res-jb` or `gemma-2-2b/`.
    pub neuronpedia_id: Option<String>,
}

impl Query {
    /// All SAEs of the catalogue.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether the query says nothing about single SAEs.
    #[must_use]
    pub fn is_about_releases(&self) -> bool {
        let Self { model: _, release: _, hook, layer, width, l0, neuronpedia_id } = self;
        hook.is_none()
            && layer.is_none()
            && width.is_none()
            && l0.is_none()
            && neuronpedia_id.is_none()
    }

    /// Whether SAEs of the release can be among those wanted.
    #[must_use]
    pub fn wants(&self, release: &Release) -> bool {
        let bare = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let is_model = |model: &String| {
            model.eq_ignore_ascii_case(&release.model)
                || bare(&release.model) == model.to_ascii_lowercase()
        };
        self.model.as_ref().is_none_or(is_model)
            && self.release.as_ref().is_none_or(|part| release.name.contains(part.as_str()))
    }

    /// Whether this SAE, of a release that is wanted, is.
    #[must_use]
    pub(super) fn takes(&self, sae: &Published<'_>) -> bool {
        let says =
            |wanted: &Option<String>, is: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(is);
        let hook = || sae.hook();
        says(&self.hook, &|part| hook().is_some_and(|h| h.to_string().contains(part)))
            && self.layer.is_none_or(|layer| hook().and_then(HookName::layer) == Some(layer))
            && self.width.is_none_or(|width| sae.width() == Some(width))
            && self.l0.is_none_or(|(least, most)| {
                sae.entry.l0.is_some_and(|l0| (least..=most).contains(&l0))
            })
            && says(&self.neuronpedia_id, &|start| {
                sae.entry.neuronpedia_id.as_deref().is_some_and(|id| id.starts_with(start))
            })
    }
}
