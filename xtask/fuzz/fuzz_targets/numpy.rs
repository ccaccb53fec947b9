//! An npz archive or npy file: its headers, and every array.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sae_core::io::{NamedTensors, NumpyFile};

fuzz_target!(|content: &[u8]| {
    let Ok(mut file) = NumpyFile::from_bytes("x".into(), content.to_vec()) else { return };
    for name in file.names() {
        drop((file.tensor(&name), file.raw(&name)));
    }
});
