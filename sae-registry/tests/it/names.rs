//! No name leads out of the folder that it belongs in.

use std::path::Path;

use proptest::prelude::*;
use sae_registry::{DirFetch, Fetch, FetchError, Hub, RemoteFile};

/// Both fetchers refuse the file, naming what is wrong; the endpoint is never asked.
fn check_refused(repo_id: &str, revision: &str, path: &str, bad: &str) {
    let file = RemoteFile::new(repo_id, path).at(revision);
    let hub = Hub::new().endpoint("http://127.0.0.1:9").cache_dir("unused").retries(0);
    for result in [hub.get(&file), DirFetch::new("unused").get(&file)] {
        let Err(FetchError::UnsafePath { name }) = result else { panic!("{file}: {result:?}") };
        assert_eq!(name, bad);
    }
    assert!(!Path::new("unused").exists());
}

#[test]
fn paths_that_climb_are_refused() {
    for bad in
        ["", "/etc/passwd", "..", "../x", "a/../x", "a//b", "./a", "a/", "a\\..\\b", "a\0b", "a\nb"]
    {
        check_refused("owner/name", "main", bad, bad);
    }
}

#[test]
fn repositories_and_revisions_that_climb_are_refused() {
    for bad in ["", "..", "../name", "owner/..", "/owner/name", "a/b/c", "owner/na me", "owner/n?x"]
    {
        check_refused(bad, "main", "config.json", bad);
    }
    for bad in ["", "..", "refs/../../x", "/main", "a b", "main?x=1", "main#x", "a%2Fb", "a\\b"] {
        check_refused("owner/name", bad, "config.json", bad);
    }
}

#[test]
fn names_on_the_hub_are_accepted() {
    for (repo_id, revision, path) in [
        ("gpt2", "main", "model.safetensors"),
        (
            "google/gemma-scope-2b-pt-res",
            "refs/pr/1",
            "layer_20/width_16k/average_l0_71/params.npz",
        ),
        ("ckkissane/attn-saes-gpt2-small-all-layers", "v1.0+a", "l11.80e+00_ds24576.pt"),
        ("owner/name", "0123456789012345678901234567890123456789", "...x/a b/größe [1].json"),
    ] {
        RemoteFile::new(repo_id, path).at(revision).check().unwrap();
    }
}

proptest! {
    #[test]
    fn an_accepted_path_stays_inside(path in "([./a\\\\: -]|\\PC){0,12}") {
        let file = RemoteFile::new("owner/name", &path);
        if file.check().is_ok() {
            let depth = Path::new(&path).components().count();
            prop_assert_eq!(depth, path.split('/').count());
            let joined = Path::new("/root").join(&path);
            prop_assert!(joined.starts_with("/root") && joined != Path::new("/root"));
            prop_assert!(!path.split('/').any(|part| part == ".."));
        }
    }
}
