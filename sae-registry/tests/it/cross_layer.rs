//! Whole cross-layer transcoders.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use sae_core::io::write_tensors;
use sae_registry::format::load_cross_layer_path;

const LAYERS: usize = 3;
const D_MODEL: usize = 4;
const D_SAE: usize = 6;

fn random(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

/// The weights of a layer as published: `W_enc` `[d_sae, d_model]`, a decoder for each layer from it on.
fn write(dir: &Path, n: usize, targets: usize) -> [Tensor; 4] {
    let (w_enc, b_enc) = (random(&[D_SAE, D_MODEL]), random(&[D_SAE]));
    let (w_dec, b_dec) = (random(&[D_SAE, targets, D_MODEL]), random(&[D_MODEL]));
    let name = |name: &str| format!("{name}_{n}");
    let encoder = [
        (name("W_enc"), w_enc.clone()),
        (name("b_enc"), b_enc.clone()),
        (name("b_dec"), b_dec.clone()),
    ];
    write_tensors(&dir.join(format!("W_enc_{n}.safetensors")), encoder).unwrap();
    let decoder = [(name("W_dec"), w_dec.clone())];
    write_tensors(&dir.join(format!("W_dec_{n}.safetensors")), decoder).unwrap();
    [w_enc, b_enc, w_dec, b_dec]
}

const CONFIG: &str = "model_name: google/gemma-2-2b\nfeature_input_hook: hook_resid_mid\n\
                      feature_output_hook: hook_mlp_out\nmodel_kind: cross_layer_transcoder\n";

#[test]
fn each_layer_writes_to_itself_and_to_those_after_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.yaml"), CONFIG).unwrap();
    let layers: Vec<[Tensor; 4]> = (0..LAYERS).map(|n| write(dir.path(), n, LAYERS - n)).collect();
    let found = load_cross_layer_path(dir.path()).unwrap();
    assert_eq!(found.model_name, "google/gemma-2-2b");
    assert_eq!(found.reads[2].to_string(), "blocks.2.hook_resid_mid");
    assert_eq!(found.writes[0].to_string(), "blocks.0.hook_mlp_out");

    let x: Vec<Tensor> = (0..LAYERS).map(|_| random(&[5, D_MODEL])).collect();
    let got = found.transcoder.reconstruct(&x).unwrap();
    for target in 0..LAYERS {
        let mut want = Tensor::zeros((5, D_MODEL), DType::F32, &Device::Cpu).unwrap();
        want = want.broadcast_add(&layers[target][3]).unwrap();
        for (source, [w_enc, b_enc, w_dec, _]) in layers.iter().enumerate().take(target + 1) {
            let h = x[source].matmul(&w_enc.t().unwrap()).unwrap().broadcast_add(b_enc).unwrap();
            let to = w_dec.narrow(1, target - source, 1).unwrap().squeeze(1).unwrap();
            want = (want + h.relu().unwrap().matmul(&to.contiguous().unwrap()).unwrap()).unwrap();
        }
        let worst = (&got[target] - want).unwrap().abs().unwrap().max_all().unwrap();
        assert!(worst.to_scalar::<f32>().unwrap() < 1e-5, "layer {target}");
    }
}

#[test]
fn a_missing_layer_shows_in_the_decoders() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.yaml"), CONFIG).unwrap();
    let error = |dir: &Path| load_cross_layer_path(dir).unwrap_err().to_string();
    assert!(error(dir.path()).contains("W_enc_0.safetensors"));
    // The first two of three: their decoders write to a layer that is not there.
    for n in 0..2 {
        write(dir.path(), n, LAYERS - n);
    }
    assert!(error(dir.path()).contains("W_dec of a layer"));
}
