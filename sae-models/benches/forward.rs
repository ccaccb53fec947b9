//! Forward pass and decoding on the shape of GPT-2 small, beside the matrix products alone.

#![allow(missing_docs, clippy::cast_possible_truncation)]

use std::hint::black_box;
use std::time::Duration;

use candle_core::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use sae_core::hook::{HookName, Logits, Plan};
use sae_core::model::{Batch, HookedModel, ModelSpec};
use sae_core::ops::linear;
use sae_models::{Decoder, KvCache, Processing};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const D_VOCAB: u32 = 50_257;

fn spec() -> ModelSpec {
    ModelSpec {
        name: "gpt2-small-shape".to_owned(),
        n_layers: 12,
        d_model: 768,
        n_heads: 12,
        n_key_value_heads: 12,
        d_head: 64,
        d_mlp: 3072,
        d_vocab: D_VOCAB as usize,
        n_ctx: 1024,
    }
}

fn batch(prompts: usize, pos: usize) -> Batch {
    let row = |b: usize| (0..pos).map(|p| ((b * 7919 + p * 104_729) as u32) % D_VOCAB).collect();
    Batch::rows(&(0..prompts).map(row).collect::<Vec<Vec<u32>>>()).expect("rows of equal length")
}

/// The matrix products of a forward pass and nothing else, on weights of the same sizes.
struct Floor {
    weights: Vec<Tensor>,
    table: Tensor,
}

impl Floor {
    fn new() -> candle_core::Result<Self> {
        let random = |shape| Tensor::randn(0f32, 0.02, shape, &Device::Cpu);
        let shapes = [(768, 2304), (768, 768), (768, 3072), (3072, 768)];
        let weights =
            (0..12).flat_map(|_| shapes).map(random).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Self { weights, table: random((D_VOCAB as usize, 768))? })
    }

    fn inputs(prompts: usize, queries: usize, keys: usize) -> candle_core::Result<Inputs> {
        let rows = prompts * queries;
        let random = |shape: &[usize]| Tensor::randn(0f32, 1.0, shape, &Device::Cpu);
        Ok(Inputs {
            narrow: random(&[rows, 768])?,
            wide: random(&[rows, 3072])?,
            q: random(&[prompts * 12, queries, 64])?,
            k: random(&[prompts * 12, 64, keys])?,
            pattern: random(&[prompts * 12, queries, keys])?,
            v: random(&[prompts * 12, keys, 64])?,
        })
    }

    /// By the product kernel of this project.
    fn run(&self, x: &Inputs) -> sae_core::Result<()> {
        for w in &self.weights {
            let lhs = if w.dim(0)? == 768 { &x.narrow } else { &x.wide };
            black_box(linear(lhs, w, None)?);
        }
        for _ in 0..12 {
            black_box(x.q.matmul(&x.k)?);
            black_box(x.pattern.matmul(&x.v)?);
        }
        black_box(linear(&x.narrow, &self.table.t()?, None)?);
        Ok(())
    }
}

/// By candle's own products.
fn candle_products(floor: &Floor, x: &Inputs) -> candle_core::Result<()> {
    for w in &floor.weights {
        let lhs = if w.dim(0)? == 768 { &x.narrow } else { &x.wide };
        black_box(lhs.matmul(w)?);
    }
    for _ in 0..12 {
        black_box(x.q.matmul(&x.k)?);
        black_box(x.pattern.matmul(&x.v)?);
    }
    black_box(x.narrow.matmul(&floor.table.t()?)?);
    Ok(())
}

struct Inputs {
    narrow: Tensor,
    wide: Tensor,
    q: Tensor,
    k: Tensor,
    pattern: Tensor,
    v: Tensor,
}

fn forward(c: &mut Criterion) {
    let model = Decoder::random_gpt2(&spec(), Processing::DEFAULT).expect("a random model");
    let floor = Floor::new().expect("random weights");
    let mut group = c.benchmark_group("gpt2-small-forward");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    for (prompts, pos) in [(1, 16), (1, 128), (1, 512), (8, 128)] {
        let batch = batch(prompts, pos);
        let inputs = Floor::inputs(prompts, pos, pos).expect("random inputs");
        let size = format!("{prompts}x{pos}");
        group.bench_function(format!("total/{size}"), |b| {
            b.iter(|| black_box(model.run(&batch, &Plan::new()).expect("a run")));
        });
        group.bench_function(format!("total-floor/{size}"), |b| {
            b.iter(|| floor.run(&inputs).expect("products"));
        });
        group.bench_function(format!("candle-products/{size}"), |b| {
            b.iter(|| candle_products(&floor, &inputs).expect("products"));
        });
    }
    let one = batch(1, 128);
    let stages = [
        ("embed", Plan::new().stop_at_layer(0)),
        ("one-block", Plan::new().stop_at_layer(1)),
        ("all-blocks", Plan::new().stop_at_layer(12)),
        ("layer-6-of-12", Plan::new().capture(HookName::resid_pre(6)).logits(Logits::Skip)),
        ("last-logits", Plan::new().logits(Logits::Last)),
    ];
    for (stage, plan) in &stages {
        group.bench_function(format!("stage-{stage}/1x128"), |b| {
            b.iter(|| black_box(model.run(&one, plan).expect("a run")));
        });
    }
    group.finish();

    let mut group = c.benchmark_group("gpt2-small-hooks");
    group.sample_size(10).measurement_time(Duration::from_secs(8));
    let plans = [
        ("empty-plan", Plan::new()),
        ("one-capture", Plan::new().capture(HookName::resid_post(6))),
        ("full-capture", Plan::new().capture_all(model.places())),
    ];
    for (what, plan) in &plans {
        group.bench_function(format!("{what}/1x128"), |b| {
            b.iter(|| black_box(model.run(&one, plan).expect("a run")));
        });
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    const CONTEXT: usize = 128;
    let model = Decoder::random_gpt2(&spec(), Processing::DEFAULT).expect("a random model");
    let mut past = KvCache::new(model.spec());
    let plan = Plan::new().logits(Logits::Last);
    model.run_with_past(&batch(1, CONTEXT), &mut past, &plan).expect("a prompt");
    let next = batch(1, 1);
    let floor = Floor::new().expect("random weights");
    let inputs = Floor::inputs(1, 1, CONTEXT + 1).expect("random inputs");
    let mut group = c.benchmark_group("gpt2-small-decode");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    group.bench_function(format!("token/context{CONTEXT}"), |b| {
        b.iter_batched(
            || past.fork().expect("a copy"),
            |mut past| black_box(model.run_with_past(&next, &mut past, &plan).expect("a run")),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function(format!("token-floor/context{CONTEXT}"), |b| {
        b.iter(|| floor.run(&inputs).expect("products"));
    });
    group.finish();
}

criterion_group!(benches, forward, decode);
criterion_main!(benches);
