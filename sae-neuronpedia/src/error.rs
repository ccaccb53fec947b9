//! What can be wrong with a name on Neuronpedia.

/// Errors of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not three parts.
    #[error("`{text}`: a feature is written `model/sae/index`, as in `gpt2-small/7-res-jb/123`")]
    FeatureParts {
        /// The text that was parsed.
        text: String,
    },
    /// Not two parts.
    #[error("`{text}`: a Neuronpedia id is written `model/sae`, as in `gpt2-small/7-res-jb`")]
    SourceParts {
        /// The text that was parsed.
        text: String,
    },
    /// A model or SAE id that is empty or has a slash.
    #[error("{part} id `{id}`: must be non-empty and without `/`")]
    Id {
        /// `model` or `sae`.
        part: &'static str,
        /// The id at fault.
        id: String,
    },
    /// A feature index that is not a decimal number of 32 bits.
    #[error("feature index `{index}`: must be a decimal number from 0 to {}", u32::MAX)]
    Index {
        /// The text in place of the index.
        index: String,
    },
}
