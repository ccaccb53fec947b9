//! The environment variables of a [`Hub`], with the meaning they have for Python's `huggingface_hub`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::settings::Hub;

impl Hub {
    /// Settings from the environment of this process; see [`from_vars`](Hub::from_vars).
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var_os(name))
    }

    /// Settings from a look-up of environment variables; an empty variable counts as unset.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `HF_ENDPOINT` | the server |
    /// | `HF_HUB_CACHE`, or `HUGGINGFACE_HUB_CACHE` | the cache folder; else `{HF_HOME}/hub` |
    /// | `HF_HOME` | else `{XDG_CACHE_HOME}/huggingface`, else `~/.cache/huggingface` |
    /// | `HF_TOKEN`, or `HUGGING_FACE_HUB_TOKEN` | the token; else the contents of the token file |
    /// | `HF_TOKEN_PATH` | the token file; else `{HF_HOME}/token` |
    /// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | `1`: send no token |
    /// | `HF_HUB_OFFLINE`, or `TRANSFORMERS_OFFLINE` | `1`: serve from the cache only |
    ///
    /// Names and defaults: `huggingface_hub/constants.py`.
    pub fn from_vars(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let var = |name: &str| get(name).filter(|value| !value.is_empty());
        let text = |name: &str| var(name).map(|value| value.to_string_lossy().into_owned());
        let is_set = |name: &str| {
            text(name).is_some_and(|v| {
                matches!(v.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
            })
        };

        let home = var("HF_HOME").map(PathBuf::from).or_else(|| {
            let cache = var("XDG_CACHE_HOME").map(PathBuf::from);
            let user = || var("HOME").or_else(|| var("USERPROFILE"));
            Some(cache.or_else(|| Some(PathBuf::from(user()?).join(".cache")))?.join("huggingface"))
        });
        let cache_dir = var("HF_HUB_CACHE")
            .or_else(|| var("HUGGINGFACE_HUB_CACHE"))
            .map(PathBuf::from)
            .or_else(|| Some(home.as_ref()?.join("hub")));
        let token_in_file = || {
            let path = var("HF_TOKEN_PATH")
                .map(PathBuf::from)
                .or_else(|| Some(home.as_ref()?.join("token")))?;
            // No file is the usual case: nobody has logged in on this machine.
            std::fs::read_to_string(path).ok()
        };
        let token = if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            None
        } else {
            text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")).or_else(token_in_file)
        };
        let offline = if var("HF_HUB_OFFLINE").is_some() {
            is_set("HF_HUB_OFFLINE")
        } else {
            is_set("TRANSFORMERS_OFFLINE")
        };

        Self { cache_dir, ..Self::new() }
            .endpoint(text("HF_ENDPOINT").unwrap_or_else(|| Self::ENDPOINT.to_owned()))
            .token(token.unwrap_or_default())
            .offline(offline)
    }
}
