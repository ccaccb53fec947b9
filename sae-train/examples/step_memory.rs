//! The peak memory of one training step, of this process as a whole: weights, moments, a batch of 4096
//! rows. `benches/peers/train_step.py memory` is the other side.
//!
//! usage: cargo run --release -p sae-train --example step_memory

#![allow(clippy::print_stdout)] // it is what this is for

use std::error::Error;

use sae_train::init::init;
use sae_train::scale::Scale;
use sae_train::{TrainConfig, Trainer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CONFIG: &str = r#"{
    "sae": {"architecture": "topk", "d_in": 768, "d_sae": 12288, "k": 32},
    "train_batch_size_tokens": 4096
}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let config = TrainConfig::parse("step_memory", CONFIG.as_bytes())?;
    let (d_in, d_sae) = (768, 12288);
    let recipe = config.recipe.build(config.apply_b_dec_to_input);
    let params = init(recipe.zeros(d_in, d_sae), config.init, config.seed, None);
    let mut trainer = Trainer::new(recipe, config.settings(Scale::None)?, params);
    let batch: Vec<f32> = (0..config.batch_rows * d_in).map(|i| (i as f32 * 0.37).sin()).collect();
    let before = peak()?;
    let step = trainer.step(&batch)?;
    println!(
        "topk32/b4096: peak {} MiB, of which {} MiB before the step; l0 {}",
        peak()? / 1024,
        before / 1024,
        step.l0
    );
    Ok(())
}

/// The largest resident set that the process has had, in KiB, as Linux counts it.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("the system does not say")?.parse()?)
}
