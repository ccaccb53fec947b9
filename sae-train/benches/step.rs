//! One training step at the size of the public GPT-2 SAEs, beside the encoder product that it needs.

#![allow(missing_docs, clippy::expect_used, clippy::cast_precision_loss)]

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sae_core::ops::gemm::{Mat, gemm_scan};
use sae_core::sae::Normalize;
use sae_train::adam::Betas;
use sae_train::config::Era;
use sae_train::recipe::{Activation, BatchTopK, By, Gated, Matryoshka, Recipe, Standard, TopK};
use sae_train::scale::Scale;
use sae_train::{Coefficient, LrSchedule, MainPhase, Settings, Trainer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const D_IN: usize = 768;
const D_SAE: usize = 12288;
const BATCH: usize = 4096;
/// Norm of decoder rows, and so standard deviation of pre-activations.
const NORM: f32 = 0.1;
/// A bias of so many standard deviations leaves about 60 of 12288 latents active.
const SIGMAS: f32 = 2.58;

/// Uniform numbers of variance 1.
fn numbers(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    let bound = 3f32.sqrt();
    (0..n).map(|_| rng.random_range(-bound..bound)).collect()
}

fn trainer(recipe: Box<dyn Recipe>, bias: f32) -> Trainer {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut params = recipe.zeros(D_IN, D_SAE);
    let scale = NORM / (D_IN as f32).sqrt();
    params.w_dec = numbers(&mut rng, D_SAE * D_IN).into_iter().map(|w| w * scale).collect();
    params.w_enc = params.w_dec.clone();
    for (name, values) in &mut params.per_latent {
        if name.starts_with("b_") {
            values.fill(bias);
        }
    }
    let settings = Settings {
        batch_rows: BATCH,
        // So small that the number of active latents stays what it is.
        lr: LrSchedule::new(MainPhase::Constant, (1e-9, 1e-9), 1_000_000, (0, 0)).expect("it fits"),
        coefficient: Coefficient { final_value: 1e-3, warm_up_steps: 0 },
        betas: Betas::default(),
        normalize: Normalize::None,
        dead_feature_window: 1_000_000,
        feature_sampling_window: 1_000_000,
        scale: Scale::None,
        unit_norm_decoder: false,
        dense_batch_mse: false,
        era: Era::V6,
    };
    Trainer::new(recipe, settings, params)
}

fn step(c: &mut Criterion) {
    let mut group = c.benchmark_group("train-step-768x12288");
    group.sample_size(10);
    let x = numbers(&mut ChaCha8Rng::seed_from_u64(2), BATCH * D_IN);
    let topk = TopK {
        k: 32,
        by: By::Value,
        rescale_acts_by_decoder_norm: true,
        aux_loss_coefficient: 1.0,
        aux_with_bias: false,
        apply_b_dec_to_input: true,
    };
    let batch_topk = BatchTopK {
        k: 32.0,
        topk_threshold_lr: 0.01,
        rescale_acts_by_decoder_norm: true,
        aux_loss_coefficient: 1.0,
        apply_b_dec_to_input: true,
    };
    let matryoshka = Matryoshka {
        base: batch_topk.clone(),
        widths: vec![768, 3072, D_SAE],
        own_aux_loss: false,
    };
    let standard = Standard {
        activation: Activation::Relu,
        lp_norm: 1.0,
        scale_by_decoder_norm: true,
        ghost_grads: false,
        apply_b_dec_to_input: true,
    };
    let gated = Gated { apply_b_dec_to_input: true };
    let bias = -SIGMAS * NORM;
    let recipes: [(&str, Box<dyn Recipe>, f32); 5] = [
        ("topk32", Box::new(topk), 0.0),
        ("batchtopk32", Box::new(batch_topk), 0.0),
        ("matryoshka32", Box::new(matryoshka), 0.0),
        ("standard-l0-60", Box::new(standard), bias),
        ("gated-l0-60", Box::new(gated), bias),
    ];
    for (name, recipe, bias) in recipes {
        let mut trainer = trainer(recipe, bias);
        group.bench_function(format!("{name}/b4096"), |b| {
            b.iter(|| trainer.step(&x).map(|s| s.l0));
        });
        let w = trainer.state().params.w_enc.clone();
        group.bench_function(format!("{name}-floor/b4096"), |b| {
            let (Some(lhs), Some(rhs)) =
                (Mat::new(&x, (BATCH, D_IN), (D_IN, 1)), Mat::new(&w, (D_IN, D_SAE), (1, D_IN)))
            else {
                return;
            };
            b.iter(|| gemm_scan(lhs, rhs, |_| 0f32, |sum, tile| *sum += tile.values[0]));
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
