//! What a user calls an SAE: the one that is built in, a folder or file of any format, one of the
//! catalogue, or a place on the hub.

use std::path::Path;

use anyhow::{Context, Result, bail};
use sae_core::fetch::Fetch;
use sae_core::io::Fields;
use sae_core::sae::SaeSpec;
use sae_core::sae_lens::{self, CFG_FILE, LoadOptions, Loaded, parse_config};
use sae_registry::format::{At, Convert, detect};
use sae_registry::{Catalogue, Converter, Options, Published};
use serde_json::{Map, Value};

use crate::named::{self, DEMO};
use crate::{embedded, progress};

/// Between a release and the id of one of its SAEs.
const OF_RELEASE: char = ':';

/// An SAE by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaeName<'n> {
    /// The one that is built in.
    Demo,
    /// A folder or file here.
    Local(&'n Path),
    /// `RELEASE:ID` of the catalogue.
    Published { release: &'n str, id: &'n str },
    /// `owner/repository/path` on the hub.
    Hub { repo: &'n str, path: &'n str },
}

/// What the files of an SAE do not say, or say wrongly.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// The format, instead of what the files look like.
    pub(crate) format: Option<Converter>,
    /// Fields of the configuration.
    pub(crate) fields: Map<String, Value>,
    /// The factor by which the trainer scaled activations.
    pub(crate) norm_scaling_factor: Option<f64>,
}

impl<'n> SaeName<'n> {
    pub(crate) fn parse(name: &'n str) -> Result<Self> {
        if name == DEMO {
            return Ok(Self::Demo);
        }
        // Some formats keep several SAEs in one folder: there the last part is no file's name. (Two parts
        // are a hub id before they are such a place.)
        let path = Path::new(name);
        let is_hub_id = !path.is_absolute() && path.components().count() == 2;
        let beside = path.parent().is_some_and(|dir| !dir.as_os_str().is_empty() && dir.is_dir());
        if path.exists() || (beside && !is_hub_id) {
            return Ok(Self::Local(path));
        }
        match name.split_once(OF_RELEASE) {
            Some((repo, path)) if repo.contains('/') => return Ok(Self::Hub { repo, path }),
            Some((release, id)) => return Ok(Self::Published { release, id }),
            None => {}
        }
        let parts: Vec<&str> = name.split('/').collect();
        if let [owner, repo, ..] = parts[..]
            && !owner.is_empty()
            && !repo.is_empty()
        {
            let (repo, path) = name.split_at(owner.len() + 1 + repo.len());
            return Ok(Self::Hub { repo, path: path.trim_matches('/') });
        }
        // A release alone, perhaps.
        match named::catalogue(None)?.release(name) {
            Ok(_) => bail!(
                "`{name}` is a release of several SAEs, expected one of them: \
                 `{name}{OF_RELEASE}ID` (see `sae show {name}`)"
            ),
            Err(e) => Err(e).with_context(|| {
                format!(
                    "`{name}` is neither a folder or file here, nor `RELEASE{OF_RELEASE}ID`, nor a \
                     hub id (`owner/repository/path`)"
                )
            }),
        }
    }

    /// The SAE, with what there is to say about its loading said on standard error.
    pub(crate) fn load(self, told: &Told) -> Result<Loaded> {
        self.load_from(&progress::hub(named::FETCHING), told)
    }

    /// As [`SaeName::load`], with files from `fetch`.
    pub(crate) fn load_from(self, fetch: &dyn Fetch, told: &Told) -> Result<Loaded> {
        let loaded = self.fetch_from(fetch, told)?;
        for note in &loaded.report.notes {
            eprintln!("note: {note}");
        }
        if !loaded.report.unused.is_empty() {
            eprintln!("note: tensors without use: {}", loaded.report.unused.join(", "));
        }
        Ok(loaded)
    }

    fn fetch_from(self, fetch: &dyn Fetch, told: &Told) -> Result<Loaded> {
        let converter = told.format.as_ref().map(|format| format as &dyn Convert);
        let options =
            Options { norm_scaling_factor: told.norm_scaling_factor, ..Options::default() };
        Ok(match self {
            Self::Demo => sae_lens::load(&embedded::SAE, LoadOptions::default())?,
            Self::Local(path) => sae_registry::load_path(path, converter, &told.fields, &options)?,
            Self::Published { release, id } => {
                if told.format.is_some() || !told.fields.is_empty() {
                    bail!("{release}{OF_RELEASE}{id}: the catalogue tells format and fields");
                }
                let catalogue = named::catalogue(None)?;
                sae_registry::from_pretrained(fetch, &catalogue, release, id, &options)?
            }
            Self::Hub { repo, path } => {
                let found = match told.format {
                    Some(format) => format,
                    None => detect(&At::new(fetch, repo, path, &options.revision))?,
                };
                sae_registry::load(fetch, repo, path, &found, &told.fields, &options)?
            }
        })
    }

    /// The configuration, without the weights where that is possible.
    pub(crate) fn spec(self) -> Result<SaeSpec> {
        let hub = progress::hub(named::FETCHING);
        let revision = Options::default().revision;
        Ok(match self {
            Self::Demo => {
                let path = embedded::SAE.path(CFG_FILE);
                parse_config(Fields::parse(&path, &embedded::SAE.read(CFG_FILE)?)?)?
            }
            Self::Local(path) => sae_registry::spec_path(path, None, &Map::new())?,
            Self::Published { release, id } => {
                let catalogue = named::catalogue(None)?;
                sae_registry::pretrained_spec(&hub, &catalogue, release, id, &revision)?
            }
            Self::Hub { repo, path } => {
                let at = At::new(&hub, repo, path, &revision);
                sae_registry::spec(&at, &detect(&at)?, &Map::new())?
            }
        })
    }

    /// What the catalogue says of it, if it is one of the catalogue.
    pub(crate) fn published(self, catalogue: &Catalogue) -> Result<Option<Published<'_>>> {
        Ok(match self {
            Self::Published { release, id } => Some(catalogue.find(release, id)?),
            Self::Demo | Self::Local(_) | Self::Hub { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_name_is_told_apart() {
        let parse = |name| SaeName::parse(name).unwrap();
        assert_eq!(parse("demo"), SaeName::Demo);
        assert_eq!(parse("src"), SaeName::Local(Path::new("src")));
        assert_eq!(parse("src/commands/7"), SaeName::Local(Path::new("src/commands/7")));
        let (release, id) = ("gpt2-small-res-jb", "blocks.7.hook_resid_pre");
        assert_eq!(
            parse("gpt2-small-res-jb:blocks.7.hook_resid_pre"),
            SaeName::Published { release, id }
        );
        let (repo, path) = ("owner/saes", "layer/7");
        assert_eq!(parse("owner/saes/layer/7"), SaeName::Hub { repo, path });
        assert_eq!(parse("owner/saes:layer/7"), SaeName::Hub { repo, path });
        assert_eq!(parse("owner/saes"), SaeName::Hub { repo, path: "" });
    }

    #[test]
    fn other_names_are_answered_with_what_was_expected() {
        let error = |name| format!("{:#}", SaeName::parse(name).unwrap_err());
        assert!(error("gpt2-small-res-jb").contains("`gpt2-small-res-jb:ID`"));
        let near = error("gpt2-small-res-jp");
        assert!(near.contains("RELEASE:ID") && near.contains("gpt2-small-res-jb"), "{near}");
    }
}
