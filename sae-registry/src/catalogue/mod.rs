//! `Catalogue`: every published SAE that SAELens knows by name, built into the binary.
//!
//! The data are `pretrained_saes.yaml` of SAELens (see `data/README.md`), rewritten line by line so that
//! reading a release costs nothing until it is asked for. A newer file of theirs can be read instead
//! with [`Catalogue::read`].

mod near;
mod place;
mod processing;
mod query;
mod release;
mod text;
mod yaml;

use std::path::Path;

use crate::Error;
pub use place::read_width as width;
pub use processing::{ModelProcessing, Reason};
pub use query::Query;
pub use release::{Entry, Published, Release};

/// The catalogue of SAELens 6.54.12.
const EMBEDDED: &str = include_str!("../../data/catalogue.txt");

/// Releases of SAEs, in the order in which SAELens lists them.
///
/// ```
/// use sae_registry::Catalogue;
///
/// let catalogue = Catalogue::embedded()?;
/// let sae = catalogue.find("gpt2-small-res-jb", "blocks.8.hook_resid_pre")?;
/// assert_eq!(sae.release.repo_id, "jbloom/GPT2-Small-SAEs-Reformatted");
/// assert_eq!(sae.entry.neuronpedia_id.as_deref(), Some("gpt2-small/8-res-jb"));
/// assert!(sae.processing().0.center_writing_weights);
///
/// let typo = catalogue.find("gpt2-small-res-jb", "blocks.8.resid_pre").unwrap_err();
/// assert!(typo.to_string().contains("blocks.8.hook_resid_pre"));
/// # Ok::<(), sae_registry::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Catalogue {
    releases: Vec<Release>,
}

impl Catalogue {
    /// The catalogue built into this library: SAELens 6.54.12.
    ///
    /// # Errors
    /// [`Error::CatalogueLine`], if the data that were built in are damaged.
    pub fn embedded() -> Result<Self, Error> {
        Ok(Self { releases: text::read(EMBEDDED)? })
    }

    /// A catalogue in SAELens' own format, `pretrained_saes.yaml`, with the defects that are known in
    /// it repaired.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::CatalogueYaml`] and
    /// [`Error::CatalogueEntry`] if it is not such a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let yaml = std::fs::read_to_string(path)
            .map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::from_yaml(&yaml, path)
    }

    /// The same from text; `path` is what errors call it.
    ///
    /// # Errors
    /// [`Error::CatalogueYaml`] and [`Error::CatalogueEntry`] if it is not such a file.
    pub fn from_yaml(yaml: &str, path: &Path) -> Result<Self, Error> {
        Ok(Self { releases: text::read_owned(&text::write(&yaml::parse(yaml, path)?)?)? })
    }

    /// The text that [`embedded`](Self::embedded) is made of.
    ///
    /// # Errors
    /// [`Error::CatalogueLine`] if a release cannot be read.
    pub fn to_text(&self) -> Result<String, Error> {
        let releases = self.releases.iter().map(|r| Ok((r.clone(), r.saes()?)));
        text::write(&releases.collect::<Result<Vec<_>, Error>>()?)
    }

    /// The releases.
    #[must_use]
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// The release of that name.
    ///
    /// # Errors
    /// [`Error::UnknownRelease`] with the names that come nearest.
    pub fn release(&self, name: &str) -> Result<&Release, Error> {
        self.releases.iter().find(|release| release.name == name).ok_or_else(|| {
            let names = self.releases.iter().map(|release| release.name.as_str());
            Error::UnknownRelease { name: name.to_owned(), nearest: near::nearest(name, names) }
        })
    }

    /// One SAE of a release.
    ///
    /// # Errors
    /// [`Error::UnknownRelease`] or [`Error::UnknownSae`], with the names that come nearest.
    pub fn find(&self, release: &str, id: &str) -> Result<Published<'_>, Error> {
        let release = self.release(release)?;
        let mut saes = release.saes()?;
        match saes.iter().position(|entry| entry.id == id) {
            Some(at) => Ok(Published { release, entry: saes.swap_remove(at) }),
            None => Err(Error::UnknownSae {
                release: release.name.clone(),
                id: id.to_owned(),
                nearest: near::nearest(id, saes.iter().map(|entry| entry.id.as_str())),
            }),
        }
    }

    /// The SAEs that a query describes, in order.
    ///
    /// # Errors
    /// [`Error::CatalogueLine`] if a release cannot be read.
    pub fn search(&self, query: &Query) -> Result<Vec<Published<'_>>, Error> {
        let mut found = Vec::new();
        for release in self.releases.iter().filter(|release| query.wants(release)) {
            let saes = release.saes()?.into_iter().map(|entry| Published { release, entry });
            found.extend(saes.filter(|published| query.takes(published)));
        }
        Ok(found)
    }

    /// Names of the releases that lie in that repository.
    pub fn of_repository<'a>(&'a self, repo_id: &'a str) -> impl Iterator<Item = &'a str> {
        let there = self.releases.iter().filter(move |release| release.repo_id == repo_id);
        there.map(|release| release.name.as_str())
    }
}
