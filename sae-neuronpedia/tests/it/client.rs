//! Calls, against a server on this machine.

use std::time::Duration;

use sae_neuronpedia::transport::{Http, NoAnswer, Request, Transport};
use sae_neuronpedia::{CallError, Client, FeatureRef, Hit, Retries, SteerRequest, Steered};

use crate::server::{Reply, Server};

const KEY: &str = "sk-np-secret";

fn client(server: &Server) -> Client {
    let wait = Duration::from_millis(5);
    let retries = Retries { max: 2, wait, longest: Duration::from_millis(20) };
    Client::new(Http::new(&server.url)).with_retries(retries)
}

fn cat() -> FeatureRef {
    "gpt2-small/10-res-jb/16899".parse().unwrap()
}

const FEATURE: &str = r#"{"modelId":"gpt2-small","layer":"10-res-jb","index":"16899",
  "maxActApprox":61.47,"frac_nonzero":0.00042,"pos_str":[" cat"],"pos_values":[3.1],
  "activations":[{"tokens":["My"," cat"],"values":[0,54.1],"maxValue":54.1}],
  "explanations":[{"description":"references to cats","explanationModelName":"gpt-4o-mini"}],
  "hookName":null,"new_field":{"x":1}}"#;

#[test]
fn a_feature_is_looked_up_without_a_key() {
    let server = Server::new(vec![Reply::json(200, FEATURE)]);
    let feature = client(&server).feature(&cat()).unwrap();
    assert_eq!(feature.explanations[0].description, "references to cats");
    assert_eq!((feature.pos_str[0].as_str(), feature.index.as_str()), (" cat", "16899"));
    assert!(feature.neg_str.is_empty());
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "GET /api/feature/gpt2-small/10-res-jb/16899 HTTP/1.1");
    assert_eq!(seen.key, None);
}

#[test]
fn steering_sends_the_workshops_payload() {
    let answer =
        r#"{"STEERED":" cats","DEFAULT":" dogs","id":"c","shareUrl":"https://x/c","limit":"9"}"#;
    let server = Server::new(vec![Reply::json(200, answer)]);
    let request = SteerRequest {
        prompt: "I am".to_owned(),
        model_id: "gpt2-small".to_owned(),
        features: vec![Steered { feature: cat(), strength: 10.0 }],
        temperature: 0.5,
        n_tokens: 32,
        freq_penalty: 1.0,
        seed: 16,
        strength_multiplier: 4.0,
    };
    let found = client(&server).with_key(KEY).steer(&request).unwrap();
    assert_eq!(
        (found.steered.as_deref(), found.default.as_deref()),
        (Some(" cats"), Some(" dogs"))
    );
    let seen = &server.seen()[0];
    assert_eq!((seen.line.as_str(), seen.key.as_deref()), ("POST /api/steer HTTP/1.1", Some(KEY)));
    assert_eq!(
        seen.body,
        r#"{"prompt": "I am", "modelId": "gpt2-small", "features": [{"modelId": "gpt2-small", "layer": "10-res-jb", "index": 16899, "strength": 10}], "temperature": 0.5, "n_tokens": 32, "freq_penalty": 1, "seed": 16, "strength_multiplier": 4}"#
    );
}

/// A page of `n` hits from `from` on.
fn page(from: u32, n: u32, rest: &str) -> Reply {
    let hit = |i: u32| format!(r#"{{"modelId":"gpt2-small","layer":"6-res-jb","index":{i}}}"#);
    let hits: Vec<String> = (from..from + n).map(hit).collect();
    Reply::json(200, &format!(r#"{{"results":[{}]{rest}}}"#, hits.join(",")))
}

#[test]
fn explanations_are_searched_in_a_model_or_in_some_of_its_saes() {
    let page = r#"{"results":[{"modelId":"gpt2-small","layer":"6-res-jb","index":"5","description":"cats",
        "cosine_similarity":0.9}],"resultsCount":1,"hasMore":false}"#;
    let server = Server::new(vec![Reply::json(200, page)]);
    let client = client(&server);
    let found = |sources: &[&str]| -> Vec<Hit> {
        let hits = client.search_explanations("gpt2-small", sources, "cat").unwrap();
        hits.collect::<Result<_, _>>().unwrap()
    };
    let hits = found(&[]);
    assert_eq!((hits[0].index.as_str(), hits[0].cosine_similarity), ("5", Some(0.9)));
    assert_eq!(found(&["6-res-jb"]), hits);
    let seen = server.seen();
    assert!(seen[0].line.contains("/api/explanation/search-model "));
    assert_eq!(seen[0].body, r#"{"modelId": "gpt2-small", "query": "cat"}"#);
    assert!(seen[1].line.contains("/api/explanation/search "));
    let body = r#"{"modelId": "gpt2-small", "layers": ["6-res-jb"], "query": "cat"}"#;
    assert_eq!(seen[1].body, body);
    assert!(client.search_explanations("gpt2-small", &[], "ca").is_err());
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn pages_are_turned_as_hits_are_wanted() {
    let more = r#","hasMore":true"#;
    let pages = vec![
        page(0, 20, more),
        page(20, 20, r#","hasMore":true,"nextOffset":45"#),
        page(45, 3, r#","hasMore":false"#),
    ];
    let server = Server::new(pages);
    let client = client(&server);
    let mut hits = client.search_explanations("gpt2-small", &[], "cat").unwrap();
    assert_eq!(hits.by_ref().take(20).filter(Result::is_ok).count(), 20);
    assert_eq!(server.seen().len(), 1);
    let rest: Vec<Hit> = hits.collect::<Result<_, _>>().unwrap();
    assert_eq!((rest.len(), rest[22].index.as_str()), (23, "47"));
    let bodies: Vec<String> = server.seen().into_iter().map(|s| s.body).collect();
    let of = |offset| format!(r#"{{"modelId": "gpt2-small", "query": "cat", "offset": {offset}}}"#);
    assert_eq!(bodies[1..], [of(20), of(45)]);
}

#[test]
fn a_page_that_fails_comes_after_the_hits_before_it_and_is_the_last() {
    let pages = vec![page(0, 2, r#","hasMore":true"#), Reply::json(500, r#"{"error":"broken"}"#)];
    let server = Server::new(pages);
    let client = client(&server);
    let hits: Vec<_> = client.search_explanations("gpt2-small", &[], "cat").unwrap().collect();
    assert_eq!(hits.len(), 3);
    assert!(hits[2].as_ref().unwrap_err().to_string().contains("broken"));
}

#[test]
fn a_server_that_never_ends_is_not_asked_for_ever() {
    for stuck in [page(0, 5, r#","hasMore":true,"nextOffset":0"#), page(0, 0, r#","hasMore":true"#)]
    {
        let server = Server::new(vec![stuck]);
        let client = client(&server);
        let hits = client.search_explanations("gpt2-small", &[], "cat").unwrap();
        assert!(hits.count() <= 5);
        assert_eq!(server.seen().len(), 1);
    }
}

#[test]
fn what_the_server_would_refuse_is_not_sent() {
    let server = Server::new(vec![Reply::json(200, "{}")]);
    let good = SteerRequest {
        prompt: "I am".to_owned(),
        model_id: "gpt2-small".to_owned(),
        features: vec![Steered { feature: cat(), strength: 10.0 }],
        temperature: 0.5,
        n_tokens: 32,
        freq_penalty: 1.0,
        seed: 16,
        strength_multiplier: 4.0,
    };
    let steered = |strength| vec![Steered { feature: cat(), strength }];
    for (bad, says) in [
        (SteerRequest { features: Vec::new(), ..good.clone() }, "no feature to steer by"),
        (SteerRequest { features: steered(f64::NAN), ..good.clone() }, "strength NaN"),
        (SteerRequest { model_id: "gemma-2-2b".to_owned(), ..good.clone() }, "no feature of model"),
        (SteerRequest { n_tokens: 257, ..good.clone() }, "257 tokens to add, expected 1 to 256"),
        (SteerRequest { temperature: -0.1, ..good.clone() }, "temperature -0.1, expected 0 to 2"),
        (SteerRequest { freq_penalty: f64::NAN, ..good.clone() }, "frequency penalty NaN"),
        (
            SteerRequest { strength_multiplier: 11.0, ..good.clone() },
            "multiplier 11, expected 0 to 10",
        ),
        (SteerRequest { seed: i64::MIN, ..good.clone() }, "seed -9223372036854775808"),
        (SteerRequest { prompt: "x".repeat(2049), ..good }, "more than 2048 characters"),
    ] {
        let error = client(&server).steer(&bad).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("/api/steer"), "`{says}`: {error}");
    }
    assert!(server.seen().is_empty());
}

#[test]
fn numbers_that_json_has_not_are_read_as_sae_lens_reads_them() {
    let body = r#"{"index":7,"frac_nonzero":NaN,"pos_values":[Infinity,1.5],
        "neg_values":[-Infinity],"pos_str":["half \ud83d"]}"#;
    let feature = client(&Server::new(vec![Reply::json(200, body)])).feature(&cat()).unwrap();
    assert_eq!((feature.index.as_str(), feature.frac_nonzero), ("7", Some(0.0)));
    assert_eq!((feature.pos_values, feature.neg_values), (vec![9999.0, 1.5], vec![-9999.0]));
    assert_eq!(feature.pos_str, ["half \u{fffd}"]);
}

#[test]
fn a_list_needs_a_key_and_is_made_once() {
    let server = Server::new(vec![Reply::json(500, r#"{"message":"Unknown Error"}"#)]);
    let features = [(cat(), "cats")];
    let error = client(&server).new_list("mine", "", &features).unwrap_err();
    assert!(matches!(error, CallError::NoKey { .. }), "{error}");
    assert!(server.seen().is_empty());
    let error = client(&server).with_key(KEY).new_list("mine", "", &features).unwrap_err();
    assert!(error.to_string().contains("status 500 (Unknown Error)"), "{error}");
    assert_eq!(server.seen().len(), 1);
    assert_eq!(
        server.seen()[0].body,
        r#"{"name": "mine", "description": "", "features": [{"modelId": "gpt2-small", "layer": "10-res-jb", "index": 16899, "description": "cats"}]}"#
    );
}

#[test]
fn a_list_that_was_made_has_a_page() {
    let answer =
        r#"{"id":"cm1","name":"mine","url":"https://www.neuronpedia.org/list/cm1","userId":"u"}"#;
    let server = Server::new(vec![Reply::json(200, answer), Reply::json(200, r#"{"id":"cm1"}"#)]);
    let client = client(&server).with_key(KEY);
    let list = client.new_list("mine", "", &[(cat(), "")]).unwrap();
    assert_eq!(
        (list.id.as_str(), list.url.as_str()),
        ("cm1", "https://www.neuronpedia.org/list/cm1")
    );
    assert_eq!(server.seen()[0].key.as_deref(), Some(KEY));
    let error = client.new_list("mine", "", &[(cat(), "")]).unwrap_err().to_string();
    assert!(error.contains("missing field `url`"), "{error}");
}

#[test]
fn a_busy_server_is_asked_again() {
    let busy =
        Reply::Answer(429, "retry-after: 0\r\n", b"{\"error\":\"Rate limit exceeded\"}".to_vec());
    let server = Server::new(vec![busy.clone(), Reply::json(503, "{}"), Reply::json(200, FEATURE)]);
    client(&server).feature(&cat()).unwrap();
    assert_eq!(server.seen().len(), 3);
    let server = Server::new(vec![busy]);
    let error = client(&server).feature(&cat()).unwrap_err();
    assert!(matches!(error, CallError::RateLimited { .. }), "{error}");
    assert!(error.to_string().contains("Rate limit exceeded"));
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn every_bad_answer_says_what_it_was() {
    let html = b"<!DOCTYPE html><html>Not here</html>".to_vec();
    for (reply, says) in [
        (Reply::json(404, r#"{"error":"The model is not available."}"#), "not found (The model is"),
        (Reply::Answer(404, "", html.clone()), "not found (<!DOCTYPE"),
        (Reply::json(401, r#"{"error":"This endpoint requires authorization."}"#), "not accepted"),
        (Reply::Answer(200, "", html), "not JSON"),
        (Reply::Answer(200, "", Vec::new()), "the answer is empty"),
        (Reply::json(200, "[1,2]"), "not as expected"),
        (Reply::json(200, r#"{"pos_str":[5]}"#), "expected a string"),
        (Reply::json(200, r#"{"error":"upstream failed","response":{}}"#), "upstream failed"),
        (Reply::json(400, r#"{"error":["a","b"]}"#), r#"status 400 (["a","b"])"#),
        (Reply::json(403, r#"{"message":"not yours"}"#), "status 403 (not yours)"),
        (Reply::json(500, r#"{"error":"bad key sk-np-secret"}"#), "bad key (the key)"),
        (Reply::Answer(200, "", b"echo sk-np-secret".to_vec()), "echo (the key)"),
        (Reply::CutOff, "cannot be reached"),
    ] {
        let server = Server::new(vec![reply]);
        let error = client(&server).with_key(KEY).feature(&cat()).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("/api/feature/"), "`{says}`: {error}");
        assert!(!error.contains(KEY));
    }
}

#[test]
fn what_is_null_or_absent_is_empty() {
    let body = r#"{"index":"1","pos_str":null,"explanations":[{"description":null}]}"#;
    let feature = client(&Server::new(vec![Reply::json(200, body)])).feature(&cat()).unwrap();
    assert!(feature.pos_str.is_empty() && feature.explanations[0].description.is_empty());
}

#[test]
fn without_a_key_a_refusal_says_what_is_missing() {
    let server = Server::new(vec![Reply::json(401, r#"{"error":"requires authorization"}"#)]);
    let error = client(&server).feature(&cat()).unwrap_err();
    assert!(matches!(error, CallError::NoKey { .. }), "{error}");
}

#[test]
fn a_wait_that_is_too_long_is_not_waited() {
    let busy = Reply::Answer(429, "retry-after: 3600\r\n", b"{}".to_vec());
    let server = Server::new(vec![busy]);
    assert!(matches!(client(&server).feature(&cat()), Err(CallError::RateLimited { .. })));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn silence_ends() {
    let server = Server::new(vec![Reply::Silence(Duration::from_secs(5))]);
    let request = Request {
        path: "/api/feature/a/b/1".to_owned(),
        body: None,
        timeout: Duration::from_millis(100),
    };
    let http = Http::new(&server.url);
    assert_eq!(http.send(&request, None), Err(NoAnswer::TimedOut));
}

#[test]
fn nobody_there_is_an_error_that_names_the_server() {
    let client = Client::new(Http::new("http://127.0.0.1:9"))
        .with_retries(Retries { max: 0, ..Retries::default() });
    let error = client.feature(&cat()).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:9") && error.contains("cannot be reached"), "{error}");
}

#[test]
fn the_key_is_not_shown() {
    let client = Client::new(Http::new("http://127.0.0.1:9")).with_key(KEY);
    assert!(!format!("{client:?}").contains(KEY));
}

mod prop {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};
    use sae_neuronpedia::transport::Answer;

    use super::*;

    /// Answers everything with the same bytes.
    struct Always(u16, Vec<u8>);

    impl Transport for Always {
        fn base_url(&self) -> &'static str {
            "test"
        }

        fn send(&self, _: &Request, _: Option<&str>) -> Result<Answer, NoAnswer> {
            Ok(Answer { status: self.0, retry_after: None, body: self.1.clone() })
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(status in 200u16..600, body in vec(any::<u8>(), 0..200)) {
            let retries = Retries { max: 0, ..Retries::default() };
            let client = Client::new(Always(status, body)).with_retries(retries);
            // Whatever comes of it, it comes back.
            let _ = client.feature(&cat());
            let _ = client.search_explanations("m", &[], "query").unwrap().take(3).count();
        }
    }
}
