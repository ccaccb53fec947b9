//! Encode and decode at 768x24576, dense and sparse, beside the matrix product alone.

#![allow(missing_docs, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use std::hint::black_box;
use std::time::Duration;

use candle_core::{Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use sae_core::arch::{WeightSource, build};
use sae_core::ops::linear;
use sae_core::sae::{Architecture, Codes, Frame, Sae, SaeSpec};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const D_IN: usize = 768;
const D_SAE: usize = 24_576;
const L0: usize = 64;

struct Random;

impl WeightSource for Random {
    fn take(&mut self, name: &str, shape: &[usize]) -> sae_core::Result<Tensor> {
        // Pre-activations are near N(0, 1) and the threshold leaves about L0 of them.
        let (mean, std) = match name {
            "W_enc" => (0.0, 1.0 / (D_IN as f32).sqrt()),
            "W_dec" => (0.0, 0.1),
            "threshold" => (2.8, 0.0),
            _ => (0.0, 0.01),
        };
        Ok(Tensor::randn(mean, std, shape, &Device::Cpu)?)
    }

    fn take_if_there(&mut self, _: &str, _: &[usize]) -> sae_core::Result<Option<Tensor>> {
        Ok(None)
    }
}

fn sae(architecture: Architecture) -> Box<dyn Sae> {
    build(SaeSpec::new(architecture, D_IN, D_SAE), &mut Random).expect("an SAE")
}

fn inputs(rows: usize) -> Tensor {
    Tensor::randn(0f32, 1.0, (rows, D_IN), &Device::Cpu).expect("inputs")
}

/// Codes of exactly `L0` latents per row, spread over the dictionary.
fn codes(rows: usize) -> Codes {
    let row = |r: usize| (0..L0).map(move |i| ((i * (D_SAE / L0) + r * 37) % D_SAE) as u32);
    let mut indices = Vec::new();
    for r in 0..rows {
        let mut sorted: Vec<u32> = row(r).collect();
        sorted.sort_unstable();
        indices.extend(sorted);
    }
    let values = vec![0.5; indices.len()];
    Codes::new(D_SAE, (0..=rows).map(|r| r * L0).collect(), indices, values).expect("codes")
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("sae-encode-768x24576");
    group.sample_size(10).measurement_time(Duration::from_secs(6));
    let w = Tensor::randn(0f32, 1.0, (D_IN, D_SAE), &Device::Cpu).expect("weights");
    let architectures = [
        ("standard", Architecture::Standard { tanh: false }),
        ("topk64", Architecture::TopK { k: L0, rescale_acts_by_decoder_norm: false }),
        ("jumprelu", Architecture::JumpRelu),
    ];
    for rows in [1, 128, 4096] {
        let x = inputs(rows);
        for (name, architecture) in &architectures {
            let sae = sae(architecture.clone());
            if *name != "topk64" {
                group.bench_function(format!("{name}-dense/rows{rows}"), |b| {
                    b.iter(|| black_box(sae.encode(&x).expect("latents")));
                });
            }
            if *name != "standard" {
                group.bench_function(format!("{name}-sparse/rows{rows}"), |b| {
                    b.iter(|| black_box(sae.encode_sparse(&x).expect("codes")));
                });
            }
        }
        group.bench_function(format!("matmul/rows{rows}"), |b| {
            b.iter(|| black_box(linear(&x, &w, None).expect("a product")));
        });
        group.bench_function(format!("candle-matmul/rows{rows}"), |b| {
            b.iter(|| black_box(x.matmul(&w).expect("a product")));
        });
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("sae-decode-24576x768-l0-64");
    group.sample_size(10).measurement_time(Duration::from_secs(6));
    let sae = sae(Architecture::Standard { tanh: false });
    for rows in [1, 128, 4096] {
        let codes = codes(rows);
        let dense = codes.to_dense().expect("dense codes");
        let frame = Frame::default();
        group.bench_function(format!("sparse/rows{rows}"), |b| {
            b.iter(|| black_box(sae.decode_sparse(&codes, &frame).expect("outputs")));
        });
        group.bench_function(format!("dense/rows{rows}"), |b| {
            b.iter(|| black_box(sae.decode(&dense, &frame).expect("outputs")));
        });
    }
    group.finish();
}

criterion_group!(benches, encode, decode);
criterion_main!(benches);
