//! A folder stands for the hub.

use std::fs;

use sae_registry::{DirFetch, Fetch, FetchError, RemoteFile, sae_files};
use tempfile::TempDir;

fn mirror() -> (TempDir, DirFetch) {
    let dir = TempDir::new().unwrap();
    let sae = dir.path().join("owner/saes/l0");
    fs::create_dir_all(&sae).unwrap();
    fs::write(sae.join("cfg.json"), "{}").unwrap();
    fs::write(sae.join("sae_weights.safetensors"), "w").unwrap();
    let fetch = DirFetch::new(dir.path());
    (dir, fetch)
}

#[test]
fn files_are_served_from_where_they_lie() {
    let (dir, fetch) = mirror();
    let sae = sae_files(&fetch, "owner/saes", "l0", "main").unwrap();
    assert_eq!(sae.dir, dir.path().join("owner/saes/l0"));
    assert_eq!(sae.files, ["cfg.json", "sae_weights.safetensors"]);
}

#[test]
fn absence_is_told_with_the_path() {
    let (dir, fetch) = mirror();
    // The last two: a folder is no file, and a file has no children.
    for path in ["l1/cfg.json", "l0", "l0/cfg.json/x"] {
        let file = RemoteFile::new("owner/saes", path);
        assert!(!fetch.exists(&file).unwrap(), "{path}");
        let Err(FetchError::NotFound { url, .. }) = fetch.get(&file) else { panic!("{path}") };
        assert_eq!(url, dir.path().join("owner/saes").join(path).display().to_string());
    }
}
