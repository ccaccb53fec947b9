//! `Client`: the calls of the workshop.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::FeatureRef;
use crate::call::CallError;
use crate::transport::{Answer, Http, NoAnswer, Request, Transport};

/// Where calls go unless told otherwise. (The bare domain leads on to it, and a redirected POST would lose
/// its body.)
pub const HOST: &str = "https://www.neuronpedia.org";
/// The environment variable that holds the key, as in Neuronpedia's own client.
pub const KEY_VARIABLE: &str = "NEURONPEDIA_API_KEY";

const QUICK: Duration = Duration::from_secs(60);
/// Steering runs a model.
const SLOW: Duration = Duration::from_secs(180);
/// Longest part of a body that is shown in a message.
const SHOWN: usize = 200;

/// How often, and how patiently, a call is tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// Tries after the first.
    pub max: u32,
    /// Wait before the first of them; each next one waits twice as long.
    pub wait: Duration,
    /// Longest wait that a server may ask for.
    pub longest: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        let (wait, longest) = (Duration::from_secs(1), Duration::from_secs(30));
        Self { max: 3, wait, longest }
    }
}

/// A feature with what Neuronpedia knows of it; fields that the server leaves out are empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Feature {
    /// The model.
    pub model_id: String,
    /// The SAE.
    pub layer: String,
    /// The feature; a decimal number as text.
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
    /// The feature.
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

/// Calls to Neuronpedia.
pub struct Client {
    transport: Box<dyn Transport>,
    key: Option<String>,
    retries: Retries,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_some() { "given" } else { "none" };
        f.debug_struct("Client")
            .field("base_url", &self.transport.base_url())
            .field("key", &key)
            .finish()
    }
}

impl Client {
    /// Neuronpedia itself, with the key that the environment holds, if any.
    pub fn from_env() -> Self {
        let key = std::env::var(KEY_VARIABLE).ok().filter(|k| !k.is_empty());
        let client = Self::new(Http::new(HOST));
        match key {
            Some(key) => client.with_key(key),
            None => client,
        }
    }

    /// Through `transport`, without a key.
    pub fn new(transport: impl Transport + 'static) -> Self {
        Self { transport: Box::new(transport), key: None, retries: Retries::default() }
    }

    /// With this key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Tried so often.
    #[must_use]
    pub fn with_retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// A feature.
    ///
    /// # Errors
    /// No such feature, or the call failed.
    pub fn feature(&self, feature: &FeatureRef) -> Result<Feature, CallError> {
        self.call(&feature.api_path(), None, QUICK)
    }

    /// Features of one model whose explanation is close to `query`, of the SAEs `sources` if there are any.
    ///
    /// # Errors
    /// The call failed.
    pub fn search_explanations(
        &self,
        model_id: &str,
        sources: &[&str],
        query: &str,
    ) -> Result<Vec<Hit>, CallError> {
        #[derive(Deserialize)]
        struct Page {
            results: Vec<Hit>,
        }
        let (path, body) = if sources.is_empty() {
            let body = json!({ "modelId": model_id, "query": query });
            ("/api/explanation/search-model", body)
        } else {
            let body = json!({ "modelId": model_id, "layers": sources, "query": query });
            ("/api/explanation/search", body)
        };
        Ok(self.call::<Page>(path, Some(&body), QUICK)?.results)
    }

    /// A prompt continued with and without features: the payload of the workshop.
    ///
    /// # Errors
    /// The call failed.
    pub fn steer(&self, request: &SteerRequest) -> Result<SteerAnswer, CallError> {
        let features: Vec<Value> = request
            .features
            .iter()
            .map(|s| {
                json!({
                    "modelId": s.feature.model_id(),
                    "layer": s.feature.sae_id(),
                    "index": s.feature.index(),
                    "strength": s.strength,
                })
            })
            .collect();
        let body = json!({
            "prompt": request.prompt,
            "modelId": request.model_id,
            "features": features,
            "temperature": request.temperature,
            "n_tokens": request.n_tokens,
            "freq_penalty": request.freq_penalty,
            "seed": request.seed,
            "strength_multiplier": request.strength_multiplier,
        });
        self.call("/api/steer", Some(&body), SLOW)
    }

    /// A new list of features with a word on each; back comes what the server says of it. Needs a key, and
    /// is never tried twice.
    ///
    /// # Errors
    /// There is no key, or the call failed.
    pub fn new_list(
        &self,
        name: &str,
        description: &str,
        features: &[(FeatureRef, &str)],
    ) -> Result<Value, CallError> {
        let path = "/api/list/new-with-features";
        if self.key.is_none() {
            return Err(CallError::NoKey { endpoint: path.to_owned() });
        }
        let features: Vec<Value> = features
            .iter()
            .map(|(feature, description)| {
                json!({
                    "modelId": feature.model_id(),
                    "layer": feature.sae_id(),
                    "index": feature.index(),
                    "description": description,
                })
            })
            .collect();
        let body = json!({ "name": name, "description": description, "features": features });
        let answer = self.once(path, Some(body.to_string()), SLOW)?;
        self.read(path, &answer)
    }

    /// Call, again if the server is busy, and read the answer.
    fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let mut wait = self.retries.wait;
        let mut left = self.retries.max;
        loop {
            let tried = self.once(path, body.map(Value::to_string), timeout);
            // A call that took too long would take as long again.
            let again = match &tried {
                Ok(answer) => matches!(answer.status, 429 | 502..=504),
                Err(CallError::NoAnswer { why: NoAnswer::Unreachable(_), .. }) => true,
                Err(_) => false,
            };
            let asked = tried.as_ref().ok().and_then(|a| a.retry_after).map(Duration::from_secs);
            if !again || left == 0 || asked.is_some_and(|asked| asked > self.retries.longest) {
                return self.read(path, &tried?);
            }
            left -= 1;
            std::thread::sleep(asked.unwrap_or(wait));
            wait *= 2;
        }
    }

    fn once(
        &self,
        path: &str,
        body: Option<String>,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        let request = Request { path: path.to_owned(), body, timeout };
        self.transport.send(&request, self.key.as_deref()).map_err(|why| CallError::NoAnswer {
            base_url: self.transport.base_url().to_owned(),
            endpoint: path.to_owned(),
            why,
        })
    }
}

impl Client {
    /// The answer as `T`, or the error it stands for.
    fn read<T: DeserializeOwned>(&self, path: &str, answer: &Answer) -> Result<T, CallError> {
        let endpoint = path.to_owned();
        let text = String::from_utf8_lossy(&answer.body);
        let json: Result<Value, _> = serde_json::from_str(&text);
        let message = || self.without_key(&said(json.as_ref().ok(), &text));
        match answer.status {
            200..=299 => {}
            401 if self.key.is_none() => return Err(CallError::NoKey { endpoint }),
            401 => return Err(CallError::Unauthorized { endpoint, message: message() }),
            404 => return Err(CallError::NotFound { endpoint, message: message() }),
            429 => return Err(CallError::RateLimited { endpoint, message: message() }),
            status => return Err(CallError::Status { endpoint, status, message: message() }),
        }
        let value = match &json {
            Ok(value) => value,
            Err(_) if text.trim().is_empty() => {
                let problem = "the answer is empty".to_owned();
                return Err(CallError::BadAnswer { endpoint, problem });
            }
            Err(e) => {
                let shown = self.without_key(&shown(&text));
                let problem = format!("the answer is not JSON ({e}): {shown}");
                return Err(CallError::BadAnswer { endpoint, problem });
            }
        };
        // Some routes answer 200 with an error, and nothing else.
        if let (Some(error), None) = (value.get("error"), value.get("data")) {
            let message = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
            let message = self.without_key(&shown(&message));
            return Err(CallError::Status { endpoint, status: answer.status, message });
        }
        T::deserialize(without_nulls(value.clone())).map_err(|e| CallError::BadAnswer {
            endpoint,
            problem: format!("the answer is not as expected: {e}"),
        })
    }

    /// A server may send back what it was sent; messages must not show the key.
    fn without_key(&self, text: &str) -> String {
        match self.key.as_deref().filter(|key| !key.is_empty()) {
            Some(key) => text.replace(key, "(the key)"),
            None => text.to_owned(),
        }
    }
}

/// Fields that are null count as absent.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k, without_nulls(v)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(list) => list.into_iter().map(without_nulls).collect::<Vec<_>>().into(),
        other => other,
    }
}

/// What the server says is wrong: `error`, `message`, or the beginning of the page.
fn said(json: Option<&Value>, text: &str) -> String {
    let field = |name: &str| json.and_then(|j| j.get(name)).filter(|v| !v.is_null());
    match field("error").or_else(|| field("message")) {
        Some(Value::String(message)) => shown(message),
        Some(other) => shown(&other.to_string()),
        None => shown(text),
    }
}

fn shown(text: &str) -> String {
    // (Control characters could tell a terminal things.)
    let plain = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let short: String = plain.take(SHOWN).collect();
    if short.is_empty() { "no message".to_owned() } else { short }
}
