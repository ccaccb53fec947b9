//! `Hits`: explanations that were found, page by page.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::CallError;
use crate::client::{Client, QUICK};
use crate::types::Hit;

/// Characters that the server wants at least.
const QUERY_CHARS: usize = 3;

/// What was found, the closest first; the next page is asked for when the last one is used up.
pub struct Hits<'a> {
    client: &'a Client,
    path: &'static str,
    body: Value,
    page: VecDeque<Hit>,
    /// Where the next page begins, if there is one.
    offset: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    results: VecDeque<Hit>,
    #[serde(default)]
    has_more: bool,
    next_offset: Option<u64>,
}

impl<'a> Hits<'a> {
    pub(crate) fn new(
        client: &'a Client,
        model_id: &str,
        sources: &[&str],
        query: &str,
    ) -> Result<Self, CallError> {
        let (path, body) = if sources.is_empty() {
            let body = json!({ "modelId": model_id, "query": query });
            ("/api/explanation/search-model", body)
        } else {
            let body = json!({ "modelId": model_id, "layers": sources, "query": query });
            ("/api/explanation/search", body)
        };
        if query.chars().count() < QUERY_CHARS {
            let problem =
                format!("`{query}` is too short, expected at least {QUERY_CHARS} characters");
            return Err(CallError::BadRequest { endpoint: path.to_owned(), problem });
        }
        Ok(Self { client, path, body, page: VecDeque::new(), offset: Some(0) })
    }

    /// Get the page at `offset`.
    fn turn(&mut self, offset: u64) -> Result<(), CallError> {
        self.offset = None;
        if offset > 0 {
            self.body["offset"] = offset.into();
        }
        let page: Page = self.client.call(self.path, Some(&self.body), QUICK)?;
        // A server that sends the same page again and again must not be asked for ever.
        let next = page.next_offset.unwrap_or(offset + page.results.len() as u64);
        self.offset = Some(next).filter(|next| page.has_more && *next > offset);
        self.page = page.results;
        Ok(())
    }
}

impl Iterator for Hits<'_> {
    type Item = Result<Hit, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(hit) = self.page.pop_front() {
                return Some(Ok(hit));
            }
            if let Err(e) = self.turn(self.offset?) {
                return Some(Err(e));
            }
        }
    }
}
