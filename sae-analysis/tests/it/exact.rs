//! What must come out for an SAE that loses nothing: `SplitSae` gives back what it reads.

use candle_core::Tensor;
use sae_analysis::{
    AttributionOptions, EvalData, FeatureStats, attribute, evaluate, find_max_activation,
    max_activation, steering,
};
use sae_core::hook::{HookName, Logits, Plan};
use sae_core::model::{Batch, HookedModel};
use sae_core::sae::Sae;
use sae_core::source::{ActivationSource, Position};
use sae_core::testing::{SplitSae, ToyModel};
use sae_core::{Error, Result};
use sae_store::MemorySource;

const D_MODEL: usize = 4;

fn at() -> HookName {
    HookName::resid_pre(1)
}

fn prompts() -> Vec<Vec<u32>> {
    (0..3u32).map(|r| (0..6u32).map(|p| (r * 5 + p) % 11).collect()).collect()
}

#[test]
fn nothing_is_lost_by_an_exact_sae() -> Result<()> {
    let (model, sae) = (ToyModel::new(2, D_MODEL)?, SplitSae::new(D_MODEL, at())?);
    let batches = [prompts()];
    let data = EvalData { reconstruction: &batches, sparsity_variance: &batches, exclude: &[0] };
    let found = evaluate(&model, &sae, data)?;
    let close = |got: f64, want: f64| assert!((got - want).abs() < 1e-5, "{got}, expected {want}");
    close(found.reconstruction_quality.explained_variance, 1.0);
    close(found.reconstruction_quality.mse, 0.0);
    close(found.model_performance_preservation.ce_loss_score, 1.0);
    close(found.model_behavior_preservation.kl_div_with_sae, 0.0);
    close(found.sparsity.l0, 4.0);
    assert_eq!(found.token_stats.total_tokens_eval_sparsity_variance, 18);
    Ok(())
}

#[test]
fn excluding_every_token_leaves_nothing_to_evaluate() -> Result<()> {
    let (model, sae) = (ToyModel::new(2, D_MODEL)?, SplitSae::new(D_MODEL, at())?);
    let (batches, exclude) = ([prompts()], (0..11).collect::<Vec<u32>>());
    let data =
        EvalData { reconstruction: &batches, sparsity_variance: &batches, exclude: &exclude };
    assert!(matches!(evaluate(&model, &sae, data), Err(Error::EmptyPrompt)));
    Ok(())
}

#[test]
fn an_sae_of_another_width_is_refused() -> Result<()> {
    let (model, sae) = (ToyModel::new(2, D_MODEL)?, SplitSae::new(D_MODEL + 1, at())?);
    let error = FeatureStats::new(10, 3).add(&model, &sae, &prompts()).unwrap_err();
    assert!(matches!(error, Error::WidthMismatch { got: 4, want: 5, .. }), "{error}");
    Ok(())
}

#[test]
fn one_pass_sees_what_the_model_has() -> Result<()> {
    let (model, sae) = (ToyModel::new(2, D_MODEL)?, SplitSae::new(D_MODEL, at())?);
    let mut stats = FeatureStats::new(2 * D_MODEL, 4);
    for prompt in prompts() {
        stats.add(&model, &sae, &[prompt])?;
    }
    // Every coordinate is positive or negative: one of its two latents fires on each token.
    let active = &stats.sparsity.active_tokens;
    assert!((0..D_MODEL).all(|i| active[i] + active[i + D_MODEL] == 18));
    let plan = Plan::new().capture(at());
    let acts = model.run(&Batch::rows(&prompts())?, &plan)?.require(at())?.to_vec3::<f32>()?;
    for feature in 0..D_MODEL {
        let largest = acts.iter().flatten().map(|row| row[feature]).fold(0f32, f32::max);
        assert!((stats.max(feature) - largest).abs() < 1e-6);
        let first = &stats.top[feature][0];
        assert!((acts[first.prompt][first.position][feature] - largest).abs() < 1e-6);
        assert!(stats.top[feature].is_sorted_by(|a, b| a.value >= b.value));
        assert!(stats.top[feature].len() <= 4);
    }
    Ok(())
}

#[test]
#[allow(clippy::float_cmp)] // the same bits are meant
fn the_largest_activation_is_the_same_from_the_model_and_from_its_rows() -> Result<()> {
    let (model, sae) = (ToyModel::new(2, D_MODEL)?, SplitSae::new(D_MODEL, at())?);
    let rows = model.run(&Batch::rows(&prompts())?, &Plan::new().capture(at()))?;
    let rows = rows.require(at())?.flatten_all()?.to_vec1::<f32>()?;
    let first = rows[..D_MODEL].to_vec();
    let mut source = MemorySource::new(at(), D_MODEL, rows)?;
    for feature in 0..2 * D_MODEL {
        let largest = find_max_activation(&model, &sae, feature, &[prompts()], &[])?;
        source.seek(Position::default())?;
        assert_eq!(max_activation(&sae, feature, &mut source, 18, 5)?, largest, "{feature}");
        source.seek(Position::default())?;
        let sign = if feature < D_MODEL { 1.0 } else { -1.0 };
        let want = (sign * first[feature % D_MODEL]).max(0.0);
        assert_eq!(max_activation(&sae, feature, &mut source, 1, 5)?, want);
    }
    let beyond = max_activation(&sae, 99, &mut source, 1, 1).unwrap_err();
    assert!(matches!(beyond, Error::FeatureOutOfRange { feature: 99, .. }), "{beyond}");
    let mut narrow = MemorySource::new(at(), 3, vec![0.0; 6])?;
    let error = max_activation(&sae, 0, &mut narrow, 1, 1).unwrap_err();
    assert!(matches!(error, Error::WidthMismatch { got: 3, want: 4, .. }), "{error}");
    Ok(())
}

#[test]
fn attribution_through_an_exact_sae_is_the_models_own() -> Result<()> {
    let (model, sae) = (ToyModel::new(2, D_MODEL)?, SplitSae::new(D_MODEL, at())?);
    let batch = Batch::single(&[1, 2, 3])?;
    let metric = |logits: &Tensor| Ok(logits.get(0)?.get(logits.dim(1)? - 1)?.get(5)?);
    let options = AttributionOptions { track: &[HookName::resid_pre(0)], ..Default::default() };
    let with = attribute(&model, &batch, &[&sae], options, metric)?;
    let without = attribute(&model, &batch, &[], options, metric)?;
    let last = AttributionOptions { logits: Logits::Last, ..options };
    let of_last = attribute(&model, &batch, &[&sae], last, metric)?;
    let flat = |t: &Tensor| -> Result<Vec<f32>> { Ok(t.flatten_all()?.to_vec1()?) };
    let want = flat(&without.tracked[0].grads)?;
    for found in [&with, &of_last] {
        for (a, b) in flat(&found.tracked[0].grads)?.iter().zip(&want) {
            assert!((a - b).abs() < 1e-5, "{a} and {b}");
        }
    }
    assert_eq!(flat(&with.saes[0].grads)?, flat(&of_last.saes[0].grads)?);
    assert!((with.error_shares[0].1 - 0.5).abs() < 1e-6);
    assert_eq!(with.saes[0].activations.dims(), [1, 3, 2 * D_MODEL]);
    Ok(())
}

#[test]
fn steering_moves_the_stream_by_the_decoder_row() -> Result<()> {
    let (model, sae) = (ToyModel::new(2, D_MODEL)?, SplitSae::new(D_MODEL, at())?);
    let batch = Batch::single(&[1, 2])?;
    let plan = steering(&model, &sae, 2, 3.0)?.capture(at());
    let steered = model.run(&batch, &plan)?.require(at())?.clone();
    let plain = model.run(&batch, &Plan::new().capture(at()))?.require(at())?.clone();
    let moved = (steered - plain)?.get(0)?.get(1)?;
    let want = (sae.decoder().get(2)? * 3.0)?;
    let (moved, want) = (moved.to_vec1::<f32>()?, want.to_vec1::<f32>()?);
    assert!(moved.iter().zip(&want).all(|(m, w)| (m - w).abs() < 1e-5), "{moved:?}, {want:?}");
    let beyond = steering(&model, &sae, 99, 1.0).err();
    assert!(matches!(beyond, Some(Error::FeatureOutOfRange { feature: 99, .. })));
    Ok(())
}
