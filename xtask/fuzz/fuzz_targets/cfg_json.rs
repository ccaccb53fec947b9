//! `cfg.json` of any version.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use sae_core::io::Fields;
use sae_core::sae_lens::parse_config;

fuzz_target!(|content: &[u8]| {
    drop(Fields::parse(Path::new("cfg.json"), content).and_then(parse_config));
});
