//! Generation: cache and recompute agree, plans are in force, rows end.

use std::ops::ControlFlow;

use candle_core::{DType, Device, Tensor};
use sae_core::Error;
use sae_core::hook::{Add, HookName, Plan};
use sae_core::model::Batch;
use sae_models::sampling::Sampling;
use sae_models::{GenerateOptions, Processing, Result, StopAt};

use crate::decoder::model;

fn prompts() -> Batch {
    Batch::rows(&[vec![1, 2, 3], vec![4, 5, 6]]).unwrap()
}

fn greedy(use_past_kv_cache: bool) -> GenerateOptions {
    let sampling = Sampling::greedy();
    GenerateOptions { max_new_tokens: 8, sampling, use_past_kv_cache, ..GenerateOptions::default() }
}

#[test]
fn with_and_without_cache_the_same_comes_also_under_steering() -> Result<()> {
    let model = model(Processing::DEFAULT);
    let vector = (Tensor::ones(12, DType::F32, &Device::Cpu)? * 0.5)?;
    for plan in [Plan::new(), Plan::new().intervene(HookName::resid_pre(1), Add(vector))] {
        let cached = model.generate(&prompts(), &greedy(true), &plan)?;
        assert_eq!(cached, model.generate(&prompts(), &greedy(false), &plan)?);
        assert!(cached.iter().all(|row| row.len() == 11));
    }
    Ok(())
}

#[test]
fn a_seed_gives_the_same_again() -> Result<()> {
    let model = model(Processing::DEFAULT);
    let drawn = |seed| {
        let sampling = Sampling { temperature: 2.0, seed, ..Sampling::default() };
        model.generate(&prompts(), &GenerateOptions { sampling, ..greedy(true) }, &Plan::new())
    };
    assert_eq!(drawn(7)?, drawn(7)?);
    assert_ne!(drawn(7)?, drawn(8)?);
    Ok(())
}

#[test]
fn a_finished_row_is_filled_and_the_loop_ends_with_the_last() -> Result<()> {
    let model = model(Processing::DEFAULT);
    let free = model.generate(&prompts(), &greedy(true), &Plan::new())?;
    let stop = StopAt { tokens: vec![free[0][4], free[1][5]], fill: 16 };
    let options = GenerateOptions { stop_at: Some(stop.clone()), ..greedy(true) };
    let rows = model.generate(&prompts(), &options, &Plan::new())?;
    for row in &rows {
        let end = row[3..].iter().position(|t| stop.tokens.contains(t)).unwrap() + 4;
        assert!(row[end..].iter().all(|t| *t == 16), "{row:?}");
    }
    assert!(rows[0].len() <= 11);
    Ok(())
}

#[test]
fn the_caller_sees_every_step_and_may_end_it() -> Result<()> {
    let model = model(Processing::DEFAULT);
    let mut seen = Vec::new();
    let rows = model.generate_with(&prompts(), &greedy(true), &Plan::new(), |new| {
        seen.push(new.to_vec());
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    assert_eq!(seen.len(), 3);
    assert_eq!(rows[1][3..], [seen[0][1], seen[1][1], seen[2][1]]);
    Ok(())
}

#[test]
fn more_than_the_context_holds_is_refused_before_anything_runs() {
    let options = GenerateOptions { max_new_tokens: 15, ..greedy(true) };
    let error =
        model(Processing::DEFAULT).generate(&prompts(), &options, &Plan::new()).unwrap_err();
    let sae_models::Error::Core(error) = error else { panic!("{error}") };
    assert!(matches!(error, Error::PromptTooLong { n_positions: 17, n_ctx: 16 }), "{error}");
}
