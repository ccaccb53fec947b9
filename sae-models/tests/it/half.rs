//! Weights kept in two bytes.

use candle_core::Tensor;
use sae_core::hook::Plan;
use sae_core::io::{Folder, WeightDtype};
use sae_core::model::{Batch, HookedModel};
use sae_core::testing::Tolerance;
use sae_models::{Decoder, KvCache, LoadOptions, Processing};

use crate::families::{self, Checkpoint, logits};

const HALVES: [WeightDtype; 2] = [WeightDtype::F16, WeightDtype::BF16];

fn options(processing: Processing, weights: WeightDtype) -> LoadOptions {
    LoadOptions { processing, weights: weights.into() }
}

/// The same checkpoint with matrices that two bytes hold exactly.
fn rounded(mut checkpoint: Checkpoint, dtype: WeightDtype) -> Checkpoint {
    for (_, tensor) in &mut checkpoint.tensors {
        if tensor.rank() > 1 {
            let half = tensor.to_dtype(dtype.dtype()).unwrap();
            *tensor = half.to_dtype(candle_core::DType::F32).unwrap();
        }
    }
    checkpoint
}

#[test]
fn weights_that_two_bytes_hold_give_the_same_logits_as_in_f32() {
    for dtype in HALVES {
        for checkpoint in families::all() {
            let dir = rounded(checkpoint, dtype).folder();
            let want = logits(dir.path(), options(Processing::NONE, WeightDtype::F32));
            let got = logits(dir.path(), options(Processing::NONE, dtype));
            Tolerance::F32.check(&got, &want, &format!("{dtype:?}"));
        }
    }
}

#[test]
fn weights_processed_in_f32_and_then_rounded_are_close_to_those_in_f32() {
    for checkpoint in families::all() {
        let dir = checkpoint.folder();
        let want = logits(dir.path(), options(Processing::DEFAULT, WeightDtype::F32));
        let got = logits(dir.path(), options(Processing::DEFAULT, WeightDtype::F16));
        Tolerance::Half.check(&got, &want, "f16");
    }
}

#[test]
fn cached_steps_and_gradients_use_the_same_weights() {
    let dir = rounded(families::rms("qwen3"), WeightDtype::BF16).folder();
    let load = |weights| {
        let options = options(Processing::NONE, weights);
        Decoder::load_with(&Folder::disk(dir.path()), options).unwrap()
    };
    let (wide, half) = (load(WeightDtype::F32), load(WeightDtype::BF16));
    let last = |model: &Decoder| -> Tensor {
        let mut past = KvCache::new(model.spec());
        let plan = Plan::new();
        for id in [3, 1, 4] {
            model.run_with_past(&Batch::single(&[id]).unwrap(), &mut past, &plan).unwrap();
        }
        let run = model.run_with_past(&Batch::single(&[1]).unwrap(), &mut past, &plan).unwrap();
        run.require_logits().unwrap().clone()
    };
    Tolerance::F32.check(&last(&half), &last(&wide), "cached steps");
    for ((name, got), (_, want)) in
        half.parameters().unwrap().iter().zip(&wide.parameters().unwrap())
    {
        Tolerance::Bits.check(got, want, name);
    }
}
