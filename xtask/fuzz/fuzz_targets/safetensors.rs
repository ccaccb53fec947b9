//! A safetensors file: its header, and every tensor that the header names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sae_core::io::TensorFile;

fuzz_target!(|content: &[u8]| {
    let Ok(mut file) = TensorFile::from_bytes("x".into(), content.to_vec().into()) else { return };
    for name in file.names() {
        drop((file.tensor(&name), file.raw(&name)));
    }
});
