//! Feature names: which are read, how they are printed, what is said of the others.

use proptest::prelude::*;
use sae_neuronpedia::{Error, FeatureRef};

fn check(text: &str, want: Result<(&str, &str, u32), &str>) {
    let got = text.parse::<FeatureRef>();
    match (got, want) {
        (Ok(f), Ok(want)) => {
            assert_eq!((f.model_id(), f.sae_id(), f.index()), want, "{text}");
        }
        (Err(e), Err(want)) => assert_eq!(e.to_string(), want, "{text}"),
        (got, want) => panic!("{text}: got {got:?}, want {want:?}"),
    }
}

#[test]
fn names_on_the_site_are_read() {
    check("gpt2-small/7-res-jb/123", Ok(("gpt2-small", "7-res-jb", 123)));
    check(
        "gemma-2-2b/5-gemmascope-res-16k__l0-143/0",
        Ok(("gemma-2-2b", "5-gemmascope-res-16k__l0-143", 0)),
    );
    check("gpt2-small/0-att_128k-oai/131071", Ok(("gpt2-small", "0-att_128k-oai", 131_071)));
    check("pythia-70m-deduped/e-res-sm/9", Ok(("pythia-70m-deduped", "e-res-sm", 9)));
    check("gpt2-small/11/4294967295", Ok(("gpt2-small", "11", u32::MAX)));
}

#[test]
fn wrong_names_are_refused_with_the_reason() {
    let parts = |text| {
        format!("`{text}`: a feature is written `model/sae/index`, as in `gpt2-small/7-res-jb/123`")
    };
    let index =
        |text| format!("feature index `{text}`: must be a decimal number from 0 to 4294967295");
    for text in ["", "gpt2-small", "gpt2-small/7-res-jb", "google/gemma-2-2b/20-res/7"] {
        check(text, Err(&parts(text)));
    }
    for text in ["", "-1", "+1", "1.0", " 1", "0x10", "4294967296", "١"] {
        check(&format!("gpt2-small/7-res-jb/{text}"), Err(&index(text)));
    }
    check("/7-res-jb/1", Err("model id ``: must be non-empty and without `/`"));
    check("gpt2-small//1", Err("sae id ``: must be non-empty and without `/`"));
}

#[test]
fn a_feature_is_named_by_the_neuronpedia_id_of_its_sae() {
    let feature = FeatureRef::of("gpt2-small/7-res-jb", 123).unwrap();
    assert_eq!(feature.to_string(), "gpt2-small/7-res-jb/123");
    assert_eq!(
        FeatureRef::of("gpt2-small", 1),
        Err(Error::SourceParts { text: "gpt2-small".into() })
    );
    assert_eq!(
        FeatureRef::of("gpt2-small/7-res-jb/1", 1),
        Err(Error::Id { part: "sae", id: "7-res-jb/1".into() })
    );
}

proptest! {
    #[test]
    fn printing_and_reading_are_inverse(model in "[^/]{1,12}", sae in "[^/]{1,12}", index: u32) {
        let feature = FeatureRef::new(model, sae, index).unwrap();
        prop_assert_eq!(feature.to_string().parse::<FeatureRef>(), Ok(feature));
    }
}
