//! Quick lists equal Python's, byte for byte, and the server can read them back.
//!
//! The literals are printed by Python 3:
//! `"https://neuronpedia.org/quick-list/?name=" + quote(name) + "&features=" + quote(json.dumps(
//! [{"modelId": model, "layer": layer, "index": str(i)} for i in indices]))`.

use percent_encoding::percent_decode_str;
use proptest::prelude::*;
use sae_neuronpedia::{Error, FeatureRef, TEMPORARY_LIST, quick_list_url, sae_lens_quick_list_url};
use serde_json::{Value, json};

/// Checks both ways to ask for a list; `model/layer` must be a possible Neuronpedia id.
fn check(name: &str, model: &str, layer: &str, indices: &[u32], python: &str) {
    let features: Vec<_> =
        indices.iter().map(|&i| FeatureRef::new(model, layer, i).unwrap()).collect();
    assert_eq!(quick_list_url(name, &features), python);
    let id = format!("{model}/{layer}");
    assert_eq!(sae_lens_quick_list_url(name, model, &id, indices).as_deref(), Ok(python));
}

#[test]
fn lists_equal_those_of_sae_lens() {
    check(
        TEMPORARY_LIST,
        "gpt2-small",
        "7-res-jb",
        &[10],
        "https://neuronpedia.org/quick-list/?name=temporary_list&features=%5B%7B%22modelId%22%3A%20%22gpt2-small%22%2C%20%22layer%22%3A%20%227-res-jb%22%2C%20%22index%22%3A%20%2210%22%7D%5D",
    );
    check(
        "my list/é",
        "gpt2-small",
        "7-res-jb",
        &[10, 20],
        "https://neuronpedia.org/quick-list/?name=my%20list/%C3%A9&features=%5B%7B%22modelId%22%3A%20%22gpt2-small%22%2C%20%22layer%22%3A%20%227-res-jb%22%2C%20%22index%22%3A%20%2210%22%7D%2C%20%7B%22modelId%22%3A%20%22gpt2-small%22%2C%20%22layer%22%3A%20%227-res-jb%22%2C%20%22index%22%3A%20%2220%22%7D%5D",
    );
    check(
        "empty",
        "m",
        "0-a",
        &[],
        "https://neuronpedia.org/quick-list/?name=empty&features=%5B%5D",
    );
}

#[test]
fn every_kind_of_character_is_escaped_as_in_python() {
    check(
        "a b&c=d+e?#%~'\"()*!;:@$,[]",
        "mödel 😀\u{7f}\\",
        "0-\"x\"\n",
        &[0],
        "https://neuronpedia.org/quick-list/?name=a%20b%26c%3Dd%2Be%3F%23%25~%27%22%28%29%2A%21%3B%3A%40%24%2C%5B%5D&features=%5B%7B%22modelId%22%3A%20%22m%5Cu00f6del%20%5Cud83d%5Cude00%5Cu007f%5C%5C%22%2C%20%22layer%22%3A%20%220-%5C%22x%5C%22%5Cn%22%2C%20%22index%22%3A%20%220%22%7D%5D",
    );
}

#[test]
fn the_strict_list_has_the_model_name_of_the_config() {
    let got = sae_lens_quick_list_url(
        TEMPORARY_LIST,
        "google/gemma-2-2b",
        "gemma-2-2b/20-gemmascope-res-16k",
        &[7],
    );
    let python = "https://neuronpedia.org/quick-list/?name=temporary_list&features=%5B%7B%22modelId%22%3A%20%22google/gemma-2-2b%22%2C%20%22layer%22%3A%20%2220-gemmascope-res-16k%22%2C%20%22index%22%3A%20%227%22%7D%5D";
    assert_eq!(got.as_deref(), Ok(python));
    assert_eq!(
        sae_lens_quick_list_url(TEMPORARY_LIST, "gpt2", "gpt2", &[]),
        Err(Error::SourceParts { text: "gpt2".into() })
    );
}

/// Takes a list's address apart as the server does.
fn decode(url: &str) -> (String, Value) {
    let query = url.strip_prefix("https://neuronpedia.org/quick-list/?name=").unwrap();
    let (name, features) = query.split_once("&features=").unwrap();
    let text = |part| percent_decode_str(part).decode_utf8().unwrap().into_owned();
    let features = text(features);
    assert!(features.is_ascii(), "{features}");
    (text(name), serde_json::from_str(&features).unwrap())
}

proptest! {
    #[test]
    fn a_list_decodes_to_its_features(
        name: String,
        features in prop::collection::vec(("[^/]{1,8}", "[^/]{1,8}", any::<u32>()), 0..5),
    ) {
        let want: Vec<_> = features
            .iter()
            .map(|(m, s, i)| json!({"modelId": m, "layer": s, "index": i.to_string()}))
            .collect();
        let refs: Vec<_> =
            features.into_iter().map(|(m, s, i)| FeatureRef::new(m, s, i).unwrap()).collect();
        prop_assert_eq!(decode(&quick_list_url(&name, &refs)), (name, Value::Array(want)));
    }
}
