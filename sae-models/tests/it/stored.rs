//! Weights that stay in memory as the file has them.

use candle_core::quantized::GgmlDType;
use candle_core::{Tensor, Var};
use sae_core::hook::Plan;
use sae_core::io::{Folder, WeightDtype};
use sae_core::model::{Batch, HookedModel};
use sae_core::testing::Tolerance;
use sae_models::{Decoder, Keep, KvCache, LoadOptions, Processing};

use crate::families::{self, Checkpoint, logits};
use crate::gguf::{BLOCKS, converted, wide};

const PROCESSING: [Processing; 2] = [Processing::NONE, Processing::DEFAULT];

/// In f32, and as stored.
fn both(processing: Processing) -> [LoadOptions; 2] {
    [Keep::default(), Keep::Stored].map(|weights| LoadOptions { processing, weights })
}

/// The checkpoint with matrices of two bytes.
fn halves(mut checkpoint: Checkpoint, dtype: WeightDtype) -> Checkpoint {
    for (_, tensor) in &mut checkpoint.tensors {
        if tensor.rank() > 1 {
            *tensor = tensor.to_dtype(dtype.dtype()).unwrap();
        }
    }
    checkpoint
}

#[test]
fn stored_halves_give_the_logits_of_their_values_in_f32_processed_or_not() {
    for dtype in [WeightDtype::F16, WeightDtype::BF16] {
        for checkpoint in families::all() {
            let what = format!("{dtype:?} {}", checkpoint.config["model_type"]);
            let dir = halves(checkpoint, dtype).folder();
            for processing in PROCESSING {
                let [f32, stored] = both(processing);
                let want = logits(dir.path(), f32);
                Tolerance::F32.check(&logits(dir.path(), stored), &want, &what);
            }
        }
    }
}

#[test]
fn stored_blocks_give_the_logits_of_their_values_in_f32_processed_or_not() {
    let checkpoint = wide();
    for blocks in BLOCKS {
        let dir = tempfile::tempdir().unwrap();
        let file = converted(&checkpoint, blocks).write(dir.path());
        for processing in PROCESSING {
            let [f32, stored] = both(processing);
            let (got, want) = (logits(&file, stored), logits(&file, f32));
            Tolerance::F32.check(&got, &want, &format!("{blocks:?}"));
        }
    }
}

/// Queries, keys and values of different types, as the mixtures of llama.cpp have them.
#[test]
fn blocks_of_several_types_come_together() {
    let of = |name: &str| match name {
        name if name.contains("attn_q") => GgmlDType::Q4K,
        name if name.contains("attn_k") => GgmlDType::Q6K,
        name if name.contains("ffn_up") => GgmlDType::F16,
        _ => GgmlDType::Q8_0,
    };
    let mut gguf = converted(&wide(), GgmlDType::F32);
    for (name, tensor) in &mut gguf.tensors {
        if tensor.rank() == 2 {
            let plain = tensor.dequantize(&candle_core::Device::Cpu).unwrap();
            *tensor = candle_core::quantized::QTensor::quantize(&plain, of(name)).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = gguf.write(dir.path());
    for processing in PROCESSING {
        let [f32, stored] = both(processing);
        Tolerance::F32.check(&logits(&file, stored), &logits(&file, f32), "a mixture");
    }
}

#[test]
fn every_architecture_keeps_its_blocks() {
    for checkpoint in families::all() {
        let dir = tempfile::tempdir().unwrap();
        let file = converted(&checkpoint, GgmlDType::Q4_1).write(dir.path());
        for processing in PROCESSING {
            let [f32, stored] = both(processing);
            let what = format!("{}", checkpoint.config["model_type"]);
            Tolerance::F32.check(&logits(&file, stored), &logits(&file, f32), &what);
        }
    }
}

#[test]
fn cached_steps_parameters_and_gradients_are_those_of_the_values() {
    let dir = tempfile::tempdir().unwrap();
    let file = converted(&wide(), GgmlDType::Q4K).write(dir.path());
    for processing in PROCESSING {
        let [f32, stored] = both(processing)
            .map(|options| Decoder::load_with(&Folder::disk(&file), options).unwrap());
        let step = |model: &Decoder| -> Tensor {
            let mut past = KvCache::new(model.spec());
            let run = |ids: &[u32], past: &mut KvCache| {
                model.run_with_past(&Batch::single(ids).unwrap(), past, &Plan::new()).unwrap()
            };
            run(&[3, 1, 4], &mut past);
            run(&[1], &mut past).require_logits().unwrap().clone()
        };
        Tolerance::F32.check(&step(&stored), &step(&f32), "a cached step");
        let (got, want) = (stored.parameters().unwrap(), f32.parameters().unwrap());
        for ((name, got), (_, want)) in got.iter().zip(&want) {
            Tolerance::F32.check(got, want, name);
        }
        let resid = Tensor::randn(0f32, 1.0, (1, 5, 256), &candle_core::Device::Cpu).unwrap();
        let gradient = |model: &Decoder| -> Tensor {
            let resid = Var::from_tensor(&resid).unwrap();
            let run = model.resume(resid.as_tensor(), 0, None, &Plan::new()).unwrap();
            let loss = run.require_logits().unwrap().sqr().unwrap().sum_all().unwrap();
            loss.backward().unwrap().remove(resid.as_tensor()).unwrap()
        };
        Tolerance::F32.check(&gradient(&stored), &gradient(&f32), "a gradient");
    }
}
