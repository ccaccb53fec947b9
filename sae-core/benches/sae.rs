//! Encode and decode of every architecture, dense and sparse, beside the matrix product alone.
//!
//! `floor` is `x W` into fresh memory by the same kernel; `candle` is candle's own product. Matching
//! pursuit does one product for each of its iterations. A temporal SAE has attention maps of
//! `d_sae x d_sae` twice a layer, and is measured at a width at which these fit in memory.

#![allow(missing_docs, clippy::cast_possible_truncation, clippy::cast_precision_loss)]

use std::hint::black_box;
use std::time::Duration;

use candle_core::{Device, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use sae_core::arch::{WeightSource, build};
use sae_core::ops::linear;
use sae_core::sae::{
    Architecture, Codes, Frame, MatchingPursuit, Sae, SaeSpec, Temporal, Transcoder,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Widths: GPT-2 small and Gemma 2 2B, as published.
const SIZES: [(usize, usize); 2] = [(768, 24_576), (2304, 16_384)];
const ROWS: [usize; 3] = [1, 128, 4096];
/// Latents that are on.
const L0: usize = 64;
/// Iterations of matching pursuit.
const PURSUIT: usize = 8;

/// Random weights: pre-activations are near N(0, 1), and biases or thresholds leave about [`L0`].
struct Random {
    d_in: usize,
    bias: f32,
}

impl WeightSource for Random {
    fn take(&mut self, name: &str, shape: &[usize]) -> sae_core::Result<Tensor> {
        let (mean, std) = match name {
            "threshold" => (2.8, 0.0),
            "b_enc" | "b_gate" => (self.bias, 0.01),
            _ if shape.len() == 1 => (0.0, 0.01),
            _ => (0.0, 1.0 / (self.d_in as f32).sqrt()),
        };
        Ok(Tensor::randn(mean, std, shape, &Device::Cpu)?)
    }

    fn take_if_there(&mut self, _: &str, _: &[usize]) -> sae_core::Result<Option<Tensor>> {
        Ok(None)
    }
}

/// An architecture as it is measured.
struct Case {
    name: &'static str,
    architecture: Architecture,
    bias: f32,
    skip: bool,
}

/// Architectures at inference. (BatchTopK and Matryoshka SAEs are JumpReLU SAEs then.)
fn cases() -> Vec<Case> {
    let topk =
        |rescale_acts_by_decoder_norm| Architecture::TopK { k: L0, rescale_acts_by_decoder_norm };
    let abs = Architecture::AbsTopK { k: L0, rescale_acts_by_decoder_norm: false };
    let pursuit = Architecture::MatchingPursuit(MatchingPursuit {
        residual_threshold: 0.0,
        max_iterations: Some(PURSUIT),
        stop_on_duplicate_support: false,
    });
    let case = |name, architecture, bias| Case { name, architecture, bias, skip: false };
    vec![
        case("standard", Architecture::Standard { tanh: false }, -2.8),
        case("gated", Architecture::Gated, -2.8),
        case("topk64", topk(false), 0.0),
        case("topk64-rescaled", topk(true), 0.0),
        case("abstopk64", abs, 0.0),
        case("jumprelu", Architecture::JumpRelu, 0.0),
        Case { skip: true, ..case("jumprelu-skip-transcoder", Architecture::JumpRelu, 0.0) },
        case("matching-pursuit8", pursuit, 0.0),
    ]
}

fn sae(case: &Case, (d_in, d_sae): (usize, usize)) -> Box<dyn Sae> {
    let mut spec = SaeSpec::new(case.architecture.clone(), d_in, d_sae);
    if case.skip {
        spec.transcoder = Some(Transcoder { d_out: d_in, skip: true });
        spec.apply_b_dec_to_input = false;
    }
    build(spec, &mut Random { d_in, bias: case.bias }).expect("an SAE")
}

fn normal(shape: &[usize]) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).expect("inputs")
}

/// Codes of exactly `L0` latents per row, spread over the dictionary.
fn codes(rows: usize, d_sae: usize) -> Codes {
    let row = |r: usize| (0..L0).map(move |i| ((i * (d_sae / L0) + r * 37) % d_sae) as u32);
    let mut indices = Vec::new();
    for r in 0..rows {
        let mut sorted: Vec<u32> = row(r).collect();
        sorted.sort_unstable();
        indices.extend(sorted);
    }
    let values = vec![0.5; indices.len()];
    Codes::new(d_sae, (0..=rows).map(|r| r * L0).collect(), indices, values).expect("codes")
}

fn group<'c>(c: &'c mut Criterion, name: String) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(4));
    group
}

/// Encode, dense and sparse.
fn both(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, sae: &dyn Sae, x: &Tensor, at: &str) {
    group.bench_function(format!("{name}-dense/{at}"), |b| {
        b.iter(|| black_box(sae.encode(x).expect("latents")));
    });
    group.bench_function(format!("{name}-sparse/{at}"), |b| {
        b.iter(|| black_box(sae.encode_sparse(x).expect("codes")));
    });
}

fn encode(c: &mut Criterion) {
    for (d_in, d_sae) in SIZES {
        let mut group = group(c, format!("sae-encode-{d_in}x{d_sae}"));
        let w = normal(&[d_in, d_sae]);
        for rows in ROWS {
            let (x, at) = (normal(&[rows, d_in]), format!("rows{rows}"));
            group.bench_function(format!("floor/{at}"), |b| {
                b.iter(|| black_box(linear(&x, &w, None).expect("a product")));
            });
            group.bench_function(format!("candle/{at}"), |b| {
                b.iter(|| black_box(x.matmul(&w).expect("a product")));
            });
        }
        for case in cases() {
            let sae = sae(&case, (d_in, d_sae));
            // (Minutes, for matching pursuit of many rows.)
            let many = !matches!(case.architecture, Architecture::MatchingPursuit(_));
            for rows in ROWS.into_iter().filter(|rows| many || *rows < 1000) {
                let (x, at) = (normal(&[rows, d_in]), format!("rows{rows}"));
                both(&mut group, case.name, sae.as_ref(), &x, &at);
            }
        }
        group.finish();
    }
}

/// One latent, and a hundred, of many: what a dashboard asks for.
fn features(c: &mut Criterion) {
    let (d_in, d_sae) = SIZES[0];
    let mut group = group(c, format!("sae-encode-features-{d_in}x{d_sae}"));
    let x = normal(&[4096, d_in]);
    for case in cases().iter().filter(|case| ["jumprelu", "topk64"].contains(&case.name)) {
        let sae = sae(case, (d_in, d_sae));
        for n in [1, 100] {
            let wanted: Vec<usize> = (0..n).map(|i| i * 97).collect();
            group.bench_function(format!("{}-{n}/rows4096", case.name), |b| {
                b.iter(|| black_box(sae.encode_features(&x, &wanted).expect("latents")));
            });
        }
    }
    group.finish();
}

fn decode(c: &mut Criterion) {
    for (d_in, d_sae) in SIZES {
        let mut group = group(c, format!("sae-decode-{d_sae}x{d_in}-l0-{L0}"));
        for case in cases() {
            let sae = sae(&case, (d_in, d_sae));
            for rows in ROWS {
                let codes = codes(rows, d_sae);
                // (Only a skip path leaves decode something of the input.)
                let frame = match case.skip {
                    true => sae.encode_sparse(&normal(&[rows, d_in])).expect("a frame").1,
                    false => Frame::default(),
                };
                group.bench_function(format!("{}-sparse/rows{rows}", case.name), |b| {
                    b.iter(|| black_box(sae.decode_sparse(&codes, &frame).expect("outputs")));
                });
                if case.name == "standard" {
                    let dense = codes.to_dense().expect("dense codes");
                    group.bench_function(format!("{}-dense/rows{rows}", case.name), |b| {
                        b.iter(|| black_box(sae.decode(&dense, &frame).expect("outputs")));
                    });
                }
            }
        }
        group.finish();
    }
}

/// A temporal SAE: the floor is the encoder's product alone.
fn temporal(c: &mut Criterion) {
    let (d_in, d_sae, k) = (768, 3072, L0);
    let architecture = Architecture::Temporal(Temporal {
        n_heads: 8,
        n_attn_layers: 1,
        bottleneck_factor: 64,
        top_k: true,
        kval_topk: Some(k),
        tied_weights: true,
        activation_normalization_factor: 1.0,
    });
    let case = Case { name: "temporal-topk64", architecture, bias: 0.0, skip: false };
    let sae = sae(&case, (d_in, d_sae));
    let w = normal(&[d_in, d_sae]);
    let mut group = group(c, format!("sae-encode-{d_in}x{d_sae}"));
    for (batch, pos) in [(1, 1), (1, 128), (8, 512)] {
        let (x, at) = (normal(&[batch, pos, d_in]), format!("rows{}", batch * pos));
        group.bench_function(format!("floor/{at}"), |b| {
            b.iter(|| black_box(linear(&x, &w, None).expect("a product")));
        });
        both(&mut group, case.name, sae.as_ref(), &x, &at);
        let (codes, frame) = sae.encode_sparse(&x).expect("codes");
        group.bench_function(format!("{}-sparse-decode/{at}", case.name), |b| {
            b.iter(|| black_box(sae.decode_sparse(&codes, &frame).expect("outputs")));
        });
    }
    group.finish();
}

criterion_group!(benches, encode, features, decode, temporal);
criterion_main!(benches);
