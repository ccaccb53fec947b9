//! `FeatureRef`: one feature of one SAE, under the names that Neuronpedia gives them.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A feature on Neuronpedia, written `gpt2-small/7-res-jb/123`.
///
/// The model id is Neuronpedia's own, not the name of a Hugging Face repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeatureRef {
    model_id: String,
    sae_id: String,
    index: u32,
}

impl FeatureRef {
    /// Feature `index` of SAE `sae_id` on model `model_id`.
    ///
    /// # Errors
    /// [`Error::Id`] if an id is empty or has a slash.
    pub fn new(
        model_id: impl Into<String>,
        sae_id: impl Into<String>,
        index: u32,
    ) -> Result<Self, Error> {
        let (model_id, sae_id) = (model_id.into(), sae_id.into());
        for (part, id) in [("model", &model_id), ("sae", &sae_id)] {
            if id.is_empty() || id.contains('/') {
                return Err(Error::Id { part, id: id.clone() });
            }
        }
        Ok(Self { model_id, sae_id, index })
    }

    /// Feature `index` of the SAE whose `neuronpedia_id`, as `cfg.json` has it, is given:
    /// `gpt2-small/7-res-jb`.
    ///
    /// # Errors
    /// [`Error::SourceParts`] or [`Error::Id`].
    pub fn of(neuronpedia_id: &str, index: u32) -> Result<Self, Error> {
        let Some((model_id, sae_id)) = neuronpedia_id.split_once('/') else {
            return Err(Error::SourceParts { text: neuronpedia_id.to_owned() });
        };
        Self::new(model_id, sae_id, index)
    }

    /// Neuronpedia's name of the model: `gpt2-small`.
    #[must_use]
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// Neuronpedia's name of the SAE, also called source or layer there: `7-res-jb`.
    #[must_use]
    pub fn sae_id(&self) -> &str {
        &self.sae_id
    }

    /// The feature's row in `W_dec`.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }
}

impl fmt::Display for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.model_id, self.sae_id, self.index)
    }
}

impl FromStr for FeatureRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.split('/');
        let (Some(model_id), Some(sae_id), Some(index), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Error::FeatureParts { text: text.to_owned() });
        };
        Self::new(model_id, sae_id, parse_index(index)?)
    }
}

fn parse_index(text: &str) -> Result<u32, Error> {
    // `u32::from_str` also takes a plus sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| Error::Index { index: text.to_owned() })
}
