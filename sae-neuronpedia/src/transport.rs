//! `Transport`: how a request reaches a server; over HTTP, or any other way a test likes.

use std::time::Duration;

use ureq::Agent;

/// Answers longer than this are refused: a feature is about one megabyte.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
const CONNECT: Duration = Duration::from_secs(10);

/// A request to one path of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path with its query, beginning with `/api`.
    pub path: String,
    /// The body of a POST; a GET has none.
    pub body: Option<String>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Seconds to wait before another try, if the server says.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: Vec<u8>,
}

/// No answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It took too long.
    TimedOut,
    /// The server cannot be reached, or broke off.
    Unreachable(String),
    /// The answer is longer than any should be.
    TooLong,
}

/// Sends one request, once.
pub trait Transport: Send + Sync {
    /// Where requests go, for messages.
    fn base_url(&self) -> &str;

    /// Send it.
    ///
    /// # Errors
    /// No answer came. An answer with an error status is an answer.
    fn send(&self, request: &Request, api_key: Option<&str>) -> Result<Answer, NoAnswer>;
}

/// HTTP.
pub struct Http {
    base_url: String,
    agent: Agent,
}

impl Http {
    /// Requests go to `base_url`, such as `https://www.neuronpedia.org`. Redirects are not followed: the
    /// key is for this server alone.
    pub fn new(base_url: impl Into<String>) -> Self {
        let agent = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("sae-neuronpedia/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let base_url = base_url.into().trim_end_matches('/').to_owned();
        Self { base_url, agent }
    }
}

impl Transport for Http {
    fn base_url(&self) -> &str {
        &self.base_url
    }

    fn send(&self, request: &Request, api_key: Option<&str>) -> Result<Answer, NoAnswer> {
        let url = format!("{}{}", self.base_url, request.path);
        let timeout = Some(request.timeout);
        let answer = match &request.body {
            None => {
                let mut get = self.agent.get(&url).config().timeout_global(timeout).build();
                if let Some(key) = api_key {
                    get = get.header("x-api-key", key);
                }
                get.call()
            }
            Some(body) => {
                let mut post = self.agent.post(&url).config().timeout_global(timeout).build();
                post = post.header("content-type", "application/json");
                if let Some(key) = api_key {
                    post = post.header("x-api-key", key);
                }
                post.send(body.as_bytes())
            }
        };
        let mut answer = answer.map_err(no_answer)?;
        let header = answer.headers().get("retry-after").and_then(|v| v.to_str().ok());
        let retry_after = header.and_then(|v| v.trim().parse().ok());
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec();
        Ok(Answer { status, retry_after, body: body.map_err(no_answer)? })
    }
}

fn no_answer(error: ureq::Error) -> NoAnswer {
    match error {
        ureq::Error::Timeout(_) => NoAnswer::TimedOut,
        ureq::Error::BodyExceedsLimit(_) => NoAnswer::TooLong,
        other => NoAnswer::Unreachable(other.to_string()),
    }
}
