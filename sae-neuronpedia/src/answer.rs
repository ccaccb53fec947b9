//! Reading answers: JSON as servers send it, or what they say is wrong.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::CallError;
use crate::python::strict;
use crate::transport::Answer;

/// Longest part of a body that is shown in a message.
const SHOWN: usize = 200;

/// The answer to a call of `path` as `T`, or the error it stands for; messages do not show `key`.
///
/// # Errors
/// An error status, an error within an answer that says 200, or something other than `T`.
pub(crate) fn read<T: DeserializeOwned>(
    path: &str,
    answer: &Answer,
    key: Option<&str>,
) -> Result<T, CallError> {
    let endpoint = path.to_owned();
    let text = String::from_utf8_lossy(&answer.body);
    let json: Result<Value, _> = serde_json::from_str(&text)
        .or_else(|e| serde_json::from_str(&strict(&text)).map_err(|_| e));
    let message = || without_key(&said(json.as_ref().ok(), &text), key);
    match answer.status {
        200..=299 => {}
        401 if key.is_none() => return Err(CallError::NoKey { endpoint }),
        401 => return Err(CallError::Unauthorized { endpoint, message: message() }),
        404 => return Err(CallError::NotFound { endpoint, message: message() }),
        429 => return Err(CallError::RateLimited { endpoint, message: message() }),
        status => return Err(CallError::Status { endpoint, status, message: message() }),
    }
    let value = match json {
        Ok(value) => value,
        Err(_) if text.trim().is_empty() => {
            let problem = "the answer is empty".to_owned();
            return Err(CallError::BadAnswer { endpoint, problem });
        }
        Err(e) => {
            let shown = without_key(&shown(&text), key);
            let problem = format!("the answer is not JSON ({e}): {shown}");
            return Err(CallError::BadAnswer { endpoint, problem });
        }
    };
    // Some routes answer 200 with an error, and nothing else.
    if let (Some(error), None) = (value.get("error"), value.get("data")) {
        let message = error.as_str().map_or_else(|| error.to_string(), str::to_owned);
        let message = without_key(&shown(&message), key);
        return Err(CallError::Status { endpoint, status: answer.status, message });
    }
    T::deserialize(without_nulls(value)).map_err(|e| CallError::BadAnswer {
        endpoint,
        problem: format!("the answer is not as expected: {e}"),
    })
}

/// A server may send back what it was sent; messages must not show the key.
fn without_key(text: &str, key: Option<&str>) -> String {
    match key.filter(|key| !key.is_empty()) {
        Some(key) => text.replace(key, "(the key)"),
        None => text.to_owned(),
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
