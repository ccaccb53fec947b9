//! Addresses of one feature.

use sae_neuronpedia::FeatureRef;

fn check(feature: &FeatureRef, dashboard: &str) {
    assert_eq!(feature.dashboard_url(), dashboard);
    assert_eq!(
        feature.embed_url(),
        format!(
            "{dashboard}?embed=true&embedexplanation=true&embedplots=true&embedtest=true&height=300"
        )
    );
}

#[test]
fn a_feature_has_a_page_and_an_embedded_page() {
    check(
        &"gpt2-small/7-res-jb/123".parse().unwrap(),
        "https://neuronpedia.org/gpt2-small/7-res-jb/123",
    );
    check(
        &"llama3.1-8b-it/15-llamascope-res-32k__l0-50/0".parse().unwrap(),
        "https://neuronpedia.org/llama3.1-8b-it/15-llamascope-res-32k__l0-50/0",
    );
}

#[test]
fn an_id_cannot_change_the_rest_of_the_address() {
    check(
        &FeatureRef::new("a b?c#d%é", "(x)'!*~", 1).unwrap(),
        "https://neuronpedia.org/a%20b%3Fc%23d%25%C3%A9/(x)'!*~/1",
    );
}
