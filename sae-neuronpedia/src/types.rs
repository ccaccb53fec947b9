//! What is asked of Neuronpedia, and what it answers.

use serde::{Deserialize, Deserializer, Serialize};

use crate::FeatureRef;

/// A feature with what Neuronpedia knows of it; fields that the server leaves out are empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Feature {
    /// The model.
    pub model_id: String,
    /// The SAE.
    pub layer: String,
    /// The feature; a decimal number as text.
    #[serde(deserialize_with = "text")]
    pub index: String,
    /// Its largest activation on Neuronpedia's data.
    pub max_act_approx: Option<f64>,
    /// Share of tokens on which it fires.
    #[serde(rename = "frac_nonzero")]
    pub frac_nonzero: Option<f64>,
    /// Tokens that it promotes most.
    #[serde(rename = "pos_str")]
    pub pos_str: Vec<String>,
    /// By how much.
    #[serde(rename = "pos_values")]
    pub pos_values: Vec<f64>,
    /// Tokens that it holds back most.
    #[serde(rename = "neg_str")]
    pub neg_str: Vec<String>,
    /// By how much.
    #[serde(rename = "neg_values")]
    pub neg_values: Vec<f64>,
    /// What people and models say it means.
    pub explanations: Vec<Explanation>,
    /// Texts on which it fires.
    pub activations: Vec<Activation>,
}

/// What somebody says a feature means.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Explanation {
    /// The explanation.
    pub description: String,
    /// Which model wrote it.
    pub explanation_model_name: Option<String>,
}

/// A text on which a feature fires.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Activation {
    /// Its tokens.
    pub tokens: Vec<String>,
    /// The activation on each.
    pub values: Vec<f64>,
    /// The largest of them.
    pub max_value: f64,
}

/// An explanation that was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hit {
    /// The model.
    pub model_id: String,
    /// The SAE.
    pub layer: String,
    /// The feature; a decimal number as text.
    #[serde(deserialize_with = "text")]
    pub index: String,
    /// The explanation.
    pub description: String,
    /// How close it is to what was asked.
    #[serde(rename = "cosine_similarity")]
    pub cosine_similarity: Option<f64>,
}

/// A feature to steer by, and how strongly.
#[derive(Clone, Debug, PartialEq)]
pub struct Steered {
    /// The feature.
    pub feature: FeatureRef,
    /// Times its decoder row; negative pushes away.
    pub strength: f64,
}

/// What to steer, with the workshop's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct SteerRequest {
    /// The prompt.
    pub prompt: String,
    /// The model.
    pub model_id: String,
    /// By which features.
    pub features: Vec<Steered>,
    /// Temperature of the sampling.
    pub temperature: f64,
    /// Tokens to add, 256 at most.
    pub n_tokens: u32,
    /// Penalty on tokens that were said before.
    pub freq_penalty: f64,
    /// Seed of the sampling.
    pub seed: i64,
    /// Times every strength.
    pub strength_multiplier: f64,
}

/// The same prompt, continued twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SteerAnswer {
    /// With the features.
    #[serde(rename = "STEERED")]
    pub steered: Option<String>,
    /// Without.
    #[serde(rename = "DEFAULT")]
    pub default: Option<String>,
    /// A page that shows both.
    #[serde(rename = "shareUrl", default)]
    pub share_url: Option<String>,
}

/// A list that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// Its page.
    pub url: String,
    /// Its name in the API.
    #[serde(default)]
    pub id: String,
    /// What it is called.
    #[serde(default)]
    pub name: String,
}

/// A text, or a number as a text: the server sends indices as either.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string or a whole number")]
    enum Either {
        Text(String),
        Number(u64),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Text(text) => text,
        Either::Number(number) => number.to_string(),
    })
}
