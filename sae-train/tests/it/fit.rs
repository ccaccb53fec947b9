//! Whole runs: what is learnt, and that a run that was stopped goes on as if it had not been.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sae_core::hook::HookName;
use sae_core::sae::{Architecture, Sae};
use sae_core::sae_lens::LoadOptions;
use sae_core::source::{ActivationSource, Position};
use sae_store::MemorySource;
use sae_train::{Error, Outcome, Params, Step, Surroundings, TrainConfig, Trained, Trainer, fit};

const D_IN: usize = 8;
const BATCH: usize = 32;
const STEPS: usize = 40;

fn config(sae: &str) -> TrainConfig {
    let text = format!(
        r#"{{"sae": {{{sae}, "d_in": {D_IN}, "d_sae": 32}}, "training_tokens": {},
            "train_batch_size_tokens": {BATCH}, "lr": 1e-2, "lr_decay_steps": 5, "n_checkpoints": 3,
            "dead_feature_window": 5, "feature_sampling_window": 7, "n_batches_for_norm_estimate": 2,
            "n_batches_in_buffer": 1}}"#,
        BATCH * STEPS
    );
    TrainConfig::parse("test", text.as_bytes()).unwrap()
}

const ARCHITECTURES: [&str; 13] = [
    r#""architecture": "topk", "k": 3"#,
    r#""architecture": "standard", "l1_coefficient": 0.05, "l1_warm_up_steps": 10"#,
    r#""architecture": "gated", "l1_coefficient": 0.05"#,
    r#""architecture": "jumprelu", "l0_coefficient": 0.01, "jumprelu_bandwidth": 0.1"#,
    r#""architecture": "standard", "l1_coefficient": 0.05, "normalize_activations": "expected_average_only_in""#,
    r#""architecture": "topk", "k": 3, "normalize_activations": "covariance_whitening""#,
    r#""architecture": "abstopk", "k": 3"#,
    r#""architecture": "batchtopk", "k": 2.5"#,
    r#""architecture": "batchtopk", "k": 3, "normalize_activations": "expected_average_only_in""#,
    r#""architecture": "matryoshka_batchtopk", "k": 3, "matryoshka_widths": [8, 16]"#,
    r#""architecture": "matryoshka_batchtopk", "k": 3, "matryoshka_widths": [8], "use_matryoshka_aux_loss": true"#,
    r#""architecture": "matching_pursuit", "max_iterations": 3"#,
    r#""architecture": "matching_pursuit", "max_iterations": 4, "normalize_activations": "expected_average_only_in""#,
];

/// Sparse combinations of a few directions.
fn source() -> MemorySource {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let directions: Vec<f32> = (0..16 * D_IN).map(|_| rng.random_range(-1.0..1.0)).collect();
    let mut values = Vec::new();
    for _ in 0..BATCH * (STEPS + 4) {
        let mut row = vec![0.1f32; D_IN];
        for _ in 0..3 {
            let (i, a) = (rng.random_range(0..16), rng.random_range(0.5..2.0));
            row.iter_mut().zip(&directions[i * D_IN..]).for_each(|(x, d)| *x += a * d);
        }
        values.extend(row);
    }
    MemorySource::new(HookName::EMBED, D_IN, values).unwrap()
}

fn run(config: &TrainConfig, checkpoints: Option<&Path>) -> (Vec<f64>, Box<Trained>) {
    let mut losses = Vec::new();
    let mut on_step = |_: &Trainer, step: &Step| losses.push(step.losses[0].1);
    let around =
        Surroundings { on_step: Some(&mut on_step), checkpoints, ..Surroundings::default() };
    match fit(config, &mut source(), around).unwrap() {
        Outcome::Done(trained) => (losses, trained),
        Outcome::Stopped { rows } => panic!("stopped after {rows} rows"),
    }
}

fn bits(params: &Params) -> Vec<u32> {
    params.tensors().flat_map(|(_, values)| values.iter().map(|v| v.to_bits())).collect()
}

#[test]
fn training_lowers_the_loss() {
    for sae in ARCHITECTURES {
        let (losses, trained) = run(&config(sae), None);
        assert_eq!(losses.len(), STEPS);
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(mean(&losses[STEPS - 5..]) < 0.7 * mean(&losses[..5]), "{sae}: {losses:?}");
        assert_eq!(trained.n_training_samples as usize, BATCH * STEPS);
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    for sae in ARCHITECTURES {
        let config = config(sae);
        let (_, whole) = run(&config, None);
        let dir = tempfile::tempdir().unwrap();
        for stop_at in [3, 17, 29] {
            let stop = AtomicBool::new(false);
            let mut on_step = |trainer: &Trainer, _: &Step| {
                stop.store(trainer.state().n_training_steps == stop_at, Ordering::Relaxed);
            };
            let around = Surroundings {
                checkpoints: Some(dir.path()),
                stop: Some(&stop),
                on_step: Some(&mut on_step),
                sink: None,
            };
            let outcome = fit(&config, &mut source(), around).unwrap();
            assert!(matches!(outcome, Outcome::Stopped { rows } if rows == stop_at * BATCH as u64));
        }
        let (losses, resumed) = run(&config, Some(dir.path()));
        assert_eq!(losses.len(), STEPS - 29);
        assert_eq!(bits(&resumed.params), bits(&whole.params), "{sae}");
        assert_eq!(resumed.log_sparsity, whole.log_sparsity);
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for sae in ARCHITECTURES {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&run(&config(sae), None).1.params))
        };
        assert_eq!(with(1), with(3), "{sae}");
    }
}

fn load(dir: &Path) -> Box<dyn Sae> {
    let folder = sae_core::io::Folder::disk(dir);
    sae_core::sae_lens::load(&folder, LoadOptions::default()).unwrap().sae
}

/// What an SAE makes of rows that it has not seen.
fn outputs(sae: &dyn Sae) -> Vec<f32> {
    let mut source = source();
    source.seek(Position { row: (BATCH * STEPS) as u64 }).unwrap();
    let x = source.next(BATCH).unwrap().unwrap();
    sae.reconstruct(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

#[test]
fn what_was_trained_is_a_sae_lens_folder() {
    for sae in ARCHITECTURES {
        let (_, trained) = run(&config(sae), None);
        let dir = tempfile::tempdir().unwrap();
        trained.save(dir.path(), Some(&serde_json::json!({ "seed": 42 }))).unwrap();
        assert!(dir.path().join("runner_cfg.json").is_file());
        let loaded = load(dir.path());
        assert_eq!(loaded.spec().hook, Some(HookName::EMBED));
        assert_eq!(outputs(loaded.as_ref()), outputs(trained.sae.as_ref()), "{sae}");
        if sae.contains("batchtopk") {
            assert_eq!(loaded.spec().architecture, Architecture::JumpRelu);
            let threshold = trained.topk_threshold.unwrap() as f32;
            let tensors = loaded.tensors();
            let (_, got) = tensors.iter().find(|(name, _)| name == "threshold").unwrap();
            assert_eq!(got.to_vec1::<f32>().unwrap(), [threshold; 32]);
            let details = &loaded.spec().metadata["training_architecture_details"];
            assert!(details["topk_threshold_lr"].is_number(), "{details}");
        }
    }
}

/// A run with a checkpoint of its end.
fn run_to_checkpoint(config: &TrainConfig, dir: &Path) -> (Box<Trained>, PathBuf) {
    let stop = AtomicBool::new(false);
    let mut on_step = |trainer: &Trainer, _: &Step| {
        stop.store(trainer.state().n_training_steps == STEPS as u64, Ordering::Relaxed);
    };
    let around = Surroundings {
        checkpoints: Some(dir),
        stop: Some(&stop),
        on_step: Some(&mut on_step),
        sink: None,
    };
    let Outcome::Done(trained) = fit(config, &mut source(), around).unwrap() else { panic!() };
    (trained, sae_train::Checkpoint::latest(dir).unwrap().unwrap())
}

#[test]
fn a_checkpoint_is_a_sae_lens_folder_of_an_sae_in_training() {
    for sae in ARCHITECTURES.iter().filter(|sae| !sae.contains("normalize_activations")) {
        let dir = tempfile::tempdir().unwrap();
        let (trained, checkpoint) = run_to_checkpoint(&config(sae), dir.path());
        let inference = sae_core::arch::to_inference(load(&checkpoint).as_ref()).unwrap();
        let (got, want) = (outputs(inference.as_ref()), outputs(trained.sae.as_ref()));
        assert_eq!(got, want, "{sae}");
    }
}

#[test]
fn a_run_begins_with_what_another_has_learnt() {
    for sae in
        ["\"architecture\": \"topk\", \"k\": 3", "\"architecture\": \"batchtopk\", \"k\": 2.5"]
    {
        let dir = tempfile::tempdir().unwrap();
        let (trained, checkpoint) = run_to_checkpoint(&config(sae), dir.path());
        let mut config = config(sae);
        config.from_pretrained_path = Some(checkpoint.clone());
        config.training_tokens = BATCH as u64;
        config.lr = (0.0, 0.0);
        config.lr_steps = (0, 0);
        let (_, again) = run(&config, None);
        assert_eq!(bits(&again.params), bits(&trained.params), "{sae}");
        // A step at rate 0 moves the threshold from where it was.
        assert_eq!(again.topk_threshold.is_some(), sae.contains("batchtopk"));
        if let (Some(again), Some(before)) = (again.topk_threshold, trained.topk_threshold) {
            assert!((again - before).abs() < 0.1 * before, "{before} and {again}");
        }

        let mut other = self::config(ARCHITECTURES[2]);
        other.from_pretrained_path = Some(checkpoint);
        let error = fit(&other, &mut source(), Surroundings::default()).err().unwrap().to_string();
        assert!(error.contains("cfg.json: is a `") && error.contains("a `gated` SAE"), "{error}");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    run(&config(ARCHITECTURES[0]), Some(dir.path()));
    let around = Surroundings { checkpoints: Some(dir.path()), ..Surroundings::default() };
    let error = fit(&config(ARCHITECTURES[2]), &mut source(), around).err().unwrap().to_string();
    assert!(error.contains("trainer_state.json") && error.contains("was written with"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(ARCHITECTURES[0]);
    run(&config, Some(dir.path()));
    let latest = sae_train::Checkpoint::latest(dir.path()).unwrap().unwrap();
    for file in ["sae_weights.safetensors", "optimizer.safetensors", "trainer_state.json"] {
        let path = latest.join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let around = Surroundings { checkpoints: Some(dir.path()), ..Surroundings::default() };
        let error = fit(&config, &mut source(), around).err().unwrap().to_string();
        assert!(error.contains(file), "{error}");
        std::fs::write(&path, whole).unwrap();
    }
}

#[test]
fn activations_that_do_not_fit_are_errors() {
    let fit = |config: &TrainConfig, values: Vec<f32>, width| {
        let mut source = MemorySource::new(HookName::EMBED, width, values).unwrap();
        fit(config, &mut source, Surroundings::default()).err().unwrap()
    };
    let config = config(ARCHITECTURES[0]);
    let error = fit(&config, vec![0.0; 40], 4);
    assert!(matches!(error, Error::Width { got: 4, want: D_IN, .. }), "{error}");
    let error = fit(&config, vec![1.0; D_IN * BATCH * 2], D_IN);
    assert!(matches!(error, Error::SourceEnded { got: 64, .. }), "{error}");
    let error = fit(&config, vec![f32::NAN; D_IN * BATCH * STEPS], D_IN);
    assert!(
        matches!(&error, Error::NotFinite { step: 0, name, .. } if name == "mse_loss"),
        "{error}"
    );
}
