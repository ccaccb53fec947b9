//! What can go wrong with a call.

use crate::transport::NoAnswer;

/// A call to Neuronpedia failed. No message holds the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The call needs a key and there is none.
    #[error(
        "{endpoint} needs an API key: set NEURONPEDIA_API_KEY (from www.neuronpedia.org/account)"
    )]
    NoKey {
        /// The path.
        endpoint: String,
    },
    /// The server does not accept the key.
    #[error("{endpoint}: the API key is not accepted ({message})")]
    Unauthorized {
        /// The path.
        endpoint: String,
        /// What the server says.
        message: String,
    },
    /// There is no such model, SAE or feature.
    #[error("{endpoint}: not found ({message})")]
    NotFound {
        /// The path.
        endpoint: String,
        /// What the server says.
        message: String,
    },
    /// Too many calls within the hour.
    #[error("{endpoint}: too many requests ({message})")]
    RateLimited {
        /// The path.
        endpoint: String,
        /// What the server says.
        message: String,
    },
    /// Any other error status.
    #[error("{endpoint}: status {status} ({message})")]
    Status {
        /// The path.
        endpoint: String,
        /// The status.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// A request that the server would refuse; it was not sent.
    #[error("{endpoint}: {problem}")]
    BadRequest {
        /// The path.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An answer that is not JSON, or not the JSON that was expected.
    #[error("{endpoint}: {problem}")]
    BadAnswer {
        /// The path.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No answer at all.
    #[error("{base_url}{endpoint}: {}", .why.text())]
    NoAnswer {
        /// The server.
        base_url: String,
        /// The path.
        endpoint: String,
        /// Why.
        why: NoAnswer,
    },
}

impl NoAnswer {
    fn text(&self) -> String {
        match self {
            Self::TimedOut => "no answer in time".to_owned(),
            Self::Unreachable(why) => format!("cannot be reached ({why})"),
            Self::TooLong => "the answer is too long".to_owned(),
        }
    }
}
