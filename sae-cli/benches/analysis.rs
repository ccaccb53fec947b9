//! The workshop's analysis on the shape of GPT-2 small, with an SAE of 24576 features.

#![allow(missing_docs, clippy::expect_used, clippy::cast_possible_truncation)]

use std::time::Duration;

use candle_core::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use sae_analysis::{AttributionOptions, attribute, find_max_activation, max_activation};
use sae_core::arch::{WeightSource, build};
use sae_core::hook::{HookName, Logits};
use sae_core::model::{Batch, ModelSpec};
use sae_core::sae::{Architecture, Sae, SaeSpec};
use sae_core::source::{ActivationSource, Position};
use sae_models::{Decoder, Processing};
use sae_store::MemorySource;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const D_IN: usize = 768;
const D_SAE: usize = 24_576;
const D_VOCAB: u32 = 50_257;
const FEATURE: usize = 1234;
const HOOK: HookName = HookName::resid_pre(7);
/// Rows of activations, and rows per batch.
const ROWS: usize = 16_384;
const BATCH: usize = 4096;

fn model() -> Decoder {
    let spec = ModelSpec {
        name: "gpt2-small-shape".to_owned(),
        n_layers: 12,
        d_model: D_IN,
        n_heads: 12,
        n_key_value_heads: 12,
        d_head: 64,
        d_mlp: 3072,
        d_vocab: D_VOCAB as usize,
        n_ctx: 1024,
    };
    Decoder::random_gpt2(&spec, Processing::DEFAULT).expect("a random model")
}

struct Random;

impl WeightSource for Random {
    fn take(&mut self, name: &str, shape: &[usize]) -> sae_core::Result<Tensor> {
        // Pre-activations are near N(0, 1), and the bias leaves about 60 of them.
        let (mean, std) = match name {
            "W_enc" => (0.0, 1.0 / (D_IN as f32).sqrt()),
            "W_dec" => (0.0, 0.1),
            "b_enc" => (-2.8, 0.0),
            _ => (0.0, 0.01),
        };
        Ok(Tensor::randn(mean, std, shape, &Device::Cpu)?)
    }

    fn take_if_there(&mut self, _: &str, _: &[usize]) -> sae_core::Result<Option<Tensor>> {
        Ok(None)
    }
}

fn sae() -> Box<dyn Sae> {
    let spec = SaeSpec::new(Architecture::Standard { tanh: false }, D_IN, D_SAE).at(HOOK);
    build(spec, &mut Random).expect("an SAE")
}

fn prompts(n: usize, pos: usize, from: usize) -> Vec<Vec<u32>> {
    let row = |b: usize| (0..pos).map(|p| ((b * 7919 + p * 104_729) as u32) % D_VOCAB).collect();
    (from..from + n).map(row).collect()
}

fn analysis(c: &mut Criterion) {
    let (model, sae) = (model(), sae());
    let sae = sae.as_ref();
    let mut group = c.benchmark_group("gpt2-small-analysis");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let batches = [prompts(8, 128, 0), prompts(8, 128, 8)];
    group.bench_function("find-max-activation/2x8x128", |b| {
        b.iter(|| find_max_activation(&model, sae, FEATURE, &batches, &[]));
    });
    let values = Tensor::randn(0f32, 1.0, ROWS * D_IN, &Device::Cpu).expect("activations");
    let values = values.to_vec1().expect("numbers");
    let mut source = MemorySource::new(HOOK, D_IN, values).expect("whole rows");
    group.bench_function(format!("max-activation-of-rows/{ROWS}"), |b| {
        b.iter(|| {
            source.seek(Position::default())?;
            max_activation(sae, FEATURE, &mut source, ROWS as u64, BATCH)
        });
    });
    let batch = Batch::rows(&prompts(1, 16, 0)).expect("a prompt");
    group.bench_function("attribution/1x16", |b| {
        b.iter(|| {
            let options = AttributionOptions { logits: Logits::Last, ..Default::default() };
            attribute(&model, &batch, &[sae], options, |logits| {
                let last = logits.get(0)?.get(logits.dim(1)? - 1)?;
                Ok((last.get(5)? - last.get(6)?)?)
            })
        });
    });
    group.finish();
}

criterion_group!(benches, analysis);
criterion_main!(benches);
