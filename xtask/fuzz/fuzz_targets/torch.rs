//! A file of torch: its pickle, and every tensor.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sae_core::io::{NamedTensors, TorchFile};

fuzz_target!(|content: &[u8]| {
    let Ok(mut file) = TorchFile::from_bytes("x".into(), content.to_vec()) else { return };
    for name in file.names() {
        drop((file.tensor(&name), file.raw(&name)));
    }
});
