//! Cross-layer transcoders: what each layer writes to itself and to those after it.

use candle_core::{Device, Tensor};
use sae_core::arch::{CrossLayer, CrossLayerTranscoder};
use sae_core::testing::Tolerance;
use sae_core::{Error, Result};

const LAYERS: usize = 3;
const D_MODEL: usize = 5;

fn normal(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 0.5, shape, &Device::Cpu).unwrap()
}

/// Layers of different numbers of latents; the first has thresholds, the last a skip path.
fn layers() -> Vec<CrossLayer> {
    let layer = |i: usize| {
        let d_sae = 8 + i;
        CrossLayer {
            w_enc: normal(&[D_MODEL, d_sae]),
            b_enc: normal(&[d_sae]),
            threshold: (i == 0).then(|| Tensor::full(0.4f32, d_sae, &Device::Cpu).unwrap()),
            w_dec: normal(&[d_sae, LAYERS - i, D_MODEL]),
            b_dec: normal(&[D_MODEL]),
            w_skip: (i == 2).then(|| normal(&[D_MODEL, D_MODEL])),
        }
    };
    (0..LAYERS).map(layer).collect()
}

/// The latents of one layer by plain operations.
fn plain_latents(layer: &CrossLayer, x: &Tensor) -> Result<Tensor> {
    let h = x.matmul(&layer.w_enc)?.broadcast_add(&layer.b_enc)?;
    let on = match &layer.threshold {
        Some(threshold) => h.broadcast_gt(threshold)?,
        None => h.gt(0f32)?,
    };
    Ok((h * on.to_dtype(candle_core::DType::F32)?)?)
}

#[test]
fn each_layer_gets_what_it_and_those_before_it_write() -> Result<()> {
    let layers = layers();
    let transcoder = CrossLayerTranscoder::new(layers.clone())?;
    let x: Vec<Tensor> = (0..LAYERS).map(|_| normal(&[7, D_MODEL])).collect();
    let written = transcoder.reconstruct(&x)?;
    for (target, written) in written.iter().enumerate() {
        let mut want = layers[target].b_dec.broadcast_as((7, D_MODEL))?.contiguous()?;
        for source in 0..=target {
            let w_dec = layers[source].w_dec.narrow(1, target - source, 1)?.squeeze(1)?;
            let latents = plain_latents(&layers[source], &x[source])?;
            want = (want + latents.matmul(&w_dec.contiguous()?)?)?;
        }
        if let Some(w_skip) = &layers[target].w_skip {
            want = (want + x[target].matmul(w_skip)?)?;
        }
        Tolerance::F32.check(written, &want, &format!("layer {target}"));
    }
    assert!(transcoder.decoder(1, 0).is_none(), "nothing is written back");
    assert_eq!(transcoder.decoder(1, 2).map(|w| w.dims().to_vec()), Some(vec![9, D_MODEL]));
    Ok(())
}

#[test]
fn a_layer_alone_has_the_same_latents_and_the_sum_of_the_decoders() -> Result<()> {
    let layers = layers();
    let transcoder = CrossLayerTranscoder::new(layers.clone())?;
    let x = normal(&[7, D_MODEL]);
    for (i, layer) in layers.iter().enumerate() {
        let alone = transcoder.summed(i)?;
        let codes = transcoder.encode_layer(i, &x)?;
        Tolerance::F32.check(&alone.encode(&x)?.0, &codes.to_dense()?, "latents");
        Tolerance::F32.check(&codes.to_dense()?, &plain_latents(layer, &x)?, "plain latents");
        let mut want = plain_latents(layer, &x)?.matmul(&layer.w_dec.sum(1)?)?;
        want = want.broadcast_add(&layer.b_dec)?;
        if let Some(w_skip) = &layer.w_skip {
            want = (want + x.matmul(w_skip)?)?;
        }
        Tolerance::F32.check(&alone.reconstruct(&x)?, &want, "outputs");
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result<()> {
    let message = |layers| CrossLayerTranscoder::new(layers).err().unwrap().to_string();
    assert!(message(Vec::new()).contains("[0], expected at least one"));
    let mut short = layers();
    short[1].w_dec = normal(&[9, 3, D_MODEL]);
    assert!(message(short).contains("W_dec of a layer is [9, 3, 5], expected [9, 2, 5]"));
    let transcoder = CrossLayerTranscoder::new(layers())?;
    let x = normal(&[7, D_MODEL]);
    let beyond = transcoder.encode_layer(3, &x);
    assert!(matches!(beyond, Err(Error::LayerOutOfRange { layer: 3, n_layers: 3 })));
    let codes = transcoder.encode(&[x.clone(), x.clone(), x.clone()])?;
    assert!(matches!(transcoder.decode_layer(0, &codes[..2], None), Err(Error::InputShape { .. })));
    let no_input = transcoder.decode_layer(2, &codes, None);
    assert!(matches!(no_input, Err(Error::InputShape { .. })), "the last layer has a skip path");
    assert!(matches!(transcoder.encode(&[x]), Err(Error::InputShape { .. })));
    Ok(())
}
