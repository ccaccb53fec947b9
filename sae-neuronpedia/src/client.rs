//! `Client`: the calls of the workshop.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::FeatureRef;
use crate::answer::read;
use crate::call::CallError;
use crate::python::{json_dumps, number};
use crate::search::Hits;
use crate::transport::{Answer, Http, NoAnswer, Request, Transport};
use crate::types::{Feature, List, SteerAnswer, SteerRequest};

/// Where calls go unless told otherwise. (The bare domain leads on to it, and a redirected POST would lose
/// its body.)
pub const HOST: &str = "https://www.neuronpedia.org";
/// The environment variable that holds the key, as in Neuronpedia's own client.
pub const KEY_VARIABLE: &str = "NEURONPEDIA_API_KEY";

pub(crate) const QUICK: Duration = Duration::from_secs(60);
/// Steering runs a model.
const SLOW: Duration = Duration::from_secs(180);
/// What the server takes at most.
const PROMPT_CHARS: usize = 2048;
const N_TOKENS: u32 = 256;
const SEED: i64 = 100_000_000;

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
        Self::at(HOST)
    }

    /// A server of Neuronpedia, such as [`HOST`], with the key that the environment holds, if any.
    pub fn at(base_url: &str) -> Self {
        let key = std::env::var(KEY_VARIABLE).ok().filter(|k| !k.is_empty());
        let client = Self::new(Http::new(base_url));
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

    /// Features of one model whose explanation is close to `query`, the closest first; of the SAEs `sources`
    /// if there are any. Pages are asked for as hits are wanted.
    ///
    /// # Errors
    /// Words that are too few to search by. Each hit may fail with its page.
    pub fn search_explanations(
        &self,
        model_id: &str,
        sources: &[&str],
        query: &str,
    ) -> Result<Hits<'_>, CallError> {
        Hits::new(self, model_id, sources, query)
    }

    /// A prompt continued with and without features: the payload of the workshop.
    ///
    /// # Errors
    /// A request that the server would refuse, or the call failed.
    pub fn steer(&self, request: &SteerRequest) -> Result<SteerAnswer, CallError> {
        check(request)?;
        let features: Vec<Value> = request
            .features
            .iter()
            .map(|s| {
                json!({
                    "modelId": s.feature.model_id(),
                    "layer": s.feature.sae_id(),
                    "index": s.feature.index(),
                    "strength": number(s.strength),
                })
            })
            .collect();
        let body = json!({
            "prompt": request.prompt,
            "modelId": request.model_id,
            "features": features,
            "temperature": number(request.temperature),
            "n_tokens": request.n_tokens,
            "freq_penalty": number(request.freq_penalty),
            "seed": request.seed,
            "strength_multiplier": number(request.strength_multiplier),
        });
        self.call("/api/steer", Some(&body), SLOW)
    }

    /// A new list of features with a word on each; back comes what the server says of it. Needs a key, and
    /// is never tried twice. Features that the server does not have are left out there, silently.
    ///
    /// # Errors
    /// There is no key, or the call failed.
    pub fn new_list(
        &self,
        name: &str,
        description: &str,
        features: &[(FeatureRef, &str)],
    ) -> Result<List, CallError> {
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
        let answer = self.once(path, Some(&body), SLOW)?;
        read(path, &answer, self.key.as_deref())
    }

    /// Call, again if the server is busy, and read the answer.
    pub(crate) fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<T, CallError> {
        let mut wait = self.retries.wait;
        let mut left = self.retries.max;
        loop {
            let tried = self.once(path, body, timeout);
            // A call that took too long would take as long again.
            let again = match &tried {
                Ok(answer) => matches!(answer.status, 429 | 502..=504),
                Err(CallError::NoAnswer { why: NoAnswer::Unreachable(_), .. }) => true,
                Err(_) => false,
            };
            let asked = tried.as_ref().ok().and_then(|a| a.retry_after).map(Duration::from_secs);
            if !again || left == 0 || asked.is_some_and(|asked| asked > self.retries.longest) {
                return read(path, &tried?, self.key.as_deref());
            }
            left -= 1;
            std::thread::sleep(asked.unwrap_or(wait));
            wait *= 2;
        }
    }

    fn once(
        &self,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<Answer, CallError> {
        // The bytes that Python's `requests` would send, as SAELens and the workshop do.
        let body = body.map(json_dumps).transpose().map_err(|e| CallError::BadRequest {
            endpoint: path.to_owned(),
            problem: e.to_string(),
        })?;
        let request = Request { path: path.to_owned(), body, timeout };
        self.transport.send(&request, self.key.as_deref()).map_err(|why| CallError::NoAnswer {
            base_url: self.transport.base_url().to_owned(),
            endpoint: path.to_owned(),
            why,
        })
    }
}

/// What the server would refuse is refused here: calls are counted.
fn check(request: &SteerRequest) -> Result<(), CallError> {
    let within = |value: f64, most: f64| value.abs() <= most; // false for NaN
    let problem = if request.prompt.chars().count() > PROMPT_CHARS {
        format!("a prompt of more than {PROMPT_CHARS} characters")
    } else if request.features.is_empty() {
        "no feature to steer by".to_owned()
    } else if let Some(s) = request.features.iter().find(|s| !s.strength.is_finite()) {
        format!("strength {} of {}", s.strength, s.feature)
    } else if let Some(s) =
        request.features.iter().find(|s| s.feature.model_id() != request.model_id)
    {
        format!("{} is no feature of model `{}`", s.feature, request.model_id)
    } else if request.n_tokens == 0 || request.n_tokens > N_TOKENS {
        format!("{} tokens to add, expected 1 to {N_TOKENS}", request.n_tokens)
    } else if !within(request.temperature - 1.0, 1.0) {
        format!("temperature {}, expected 0 to 2", request.temperature)
    } else if !within(request.freq_penalty, 2.0) {
        format!("frequency penalty {}, expected -2 to 2", request.freq_penalty)
    } else if !within(request.strength_multiplier - 5.0, 5.0) {
        format!("strength multiplier {}, expected 0 to 10", request.strength_multiplier)
    } else if request.seed.checked_abs().is_none_or(|seed| seed > SEED) {
        format!("seed {}, expected -{SEED} to {SEED}", request.seed)
    } else {
        return Ok(());
    };
    Err(CallError::BadRequest { endpoint: "/api/steer".to_owned(), problem })
}
