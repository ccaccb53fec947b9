//! A catalogue as SAELens writes it, in YAML.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sae_registry::Catalogue;

fuzz_target!(|content: &[u8]| {
    let Ok(text) = std::str::from_utf8(content) else { return };
    if let Ok(catalogue) = Catalogue::from_yaml(text, Path::new("x.yaml")) {
        for release in catalogue.releases() {
            drop(release.saes());
        }
    }
});
