//! An SAE inside a running model.

use sae_core::hook::{HookName, Plan, SaeSite};
use sae_core::model::{Batch, CacheOptions, HookedModel, HookedModelExt};
use sae_core::sae::{FeatureEdit, FeatureOp, RunWithSaes, SaeExt, Splice};
use sae_core::testing::{SplitSae, Tolerance, ToyModel};
use sae_core::{Error, Result};

use crate::saes::{AT, random, specs};

fn toy() -> (ToyModel, Batch) {
    (ToyModel::new(3, 6).unwrap(), Batch::rows(&[vec![1, 2, 3], vec![4, 5, 0]]).unwrap())
}

#[test]
fn an_exact_sae_changes_nothing() -> Result<()> {
    let (model, batch) = toy();
    let sae = SplitSae::new(6, AT)?;
    let run = model.run_with_saes(&batch, &[&sae], false)?;
    Tolerance::F32.check(run.require_logits()?, &model.logits(&batch)?, "logits");
    let options = CacheOptions::default();
    let (run, cache) = model.run_with_cache_with_saes(&batch, &[&sae], true, options)?;
    Tolerance::F32.check(run.require_logits()?, &model.logits(&batch)?, "with the error term");
    assert_eq!(cache.by_name("blocks.1.hook_resid_pre.hook_sae_acts_post")?.dims(), [2, 3, 12]);
    Ok(())
}

#[test]
fn with_the_error_term_no_sae_changes_anything() -> Result<()> {
    let (model, batch) = toy();
    for spec in specs(6, 20) {
        let name = spec.architecture.as_str();
        let sae = random(spec);
        let with = |error| Plan::new().with_saes(&[sae.as_ref()], error);
        let plain = model.logits(&batch)?;
        Tolerance::F32.check(model.run(&batch, &with(true)?)?.require_logits()?, &plain, name);
        let moved = (model.run(&batch, &with(false)?)?.require_logits()? - plain)?;
        assert!(
            moved.abs()?.max_all()?.to_scalar::<f32>()? > 1e-3,
            "{name} must matter without it"
        );
    }
    Ok(())
}

#[test]
fn an_edit_moves_the_output_by_the_decoder_row() -> Result<()> {
    let (model, batch) = toy();
    let sae = random(specs(6, 20).remove(0));
    let (acts, output) = (AT.sae(SaeSite::ActsPost), AT.sae(SaeSite::Output));
    let spliced = || Plan::new().intervene(AT, Splice::new(sae.as_ref()).use_error_term(true));
    let before = model.run(&batch, &spliced().capture(output))?;
    let edit = FeatureEdit::new([7], FeatureOp::Add(1.5));
    let after = model.run(&batch, &spliced().intervene(acts, edit).capture(output))?;
    let moved = (after.require(output)? - before.require(output)?)?;
    let want = (sae.decoder().get(7)? * 1.5)?.broadcast_as(moved.shape())?;
    Tolerance::F32.check(&moved, &want, "1.5 W_dec[7]");
    Ok(())
}

#[test]
fn every_point_fires_in_order_and_takes_the_place_of_the_hook() -> Result<()> {
    let (model, batch) = toy();
    let sae = random(specs(6, 20).remove(0));
    for (error, n_points) in [(false, 5), (true, 6)] {
        let plan = Plan::new().with_saes(&[sae.as_ref()], error)?;
        let (_, cache) = model.run_with_cache(&batch, plan, CacheOptions::default())?;
        let points: Vec<HookName> = cache.names().filter(|n| n.sae_site().is_some()).collect();
        assert_eq!(points.len(), n_points);
        assert!(points.is_sorted_by_key(|n| n.sae_site()));
        assert!(!cache.names().any(|n| n == AT), "the plain entry disappears");
    }
    Ok(())
}

#[test]
fn excluded_tokens_pass_by_the_sae() -> Result<()> {
    let (model, batch) = toy();
    let sae = random(specs(6, 20).remove(0));
    let output = AT.sae(SaeSite::Output);
    let splice = Splice::new(sae.as_ref()).exclude_tokens([0, 2]);
    let run = model.run(&batch, &Plan::new().intervene(AT, splice).capture(output))?;
    let plain = model.activations(&batch, AT)?;
    let differs = (run.require(output)? - plain)?.abs()?.sum(2)?.gt(1e-6f32)?.to_vec2::<u8>()?;
    assert_eq!(differs, [[1, 0, 1], [1, 1, 0]]);
    Ok(())
}

#[test]
fn saes_that_do_not_fit_are_refused() -> Result<()> {
    let (model, batch) = toy();
    let wide = SplitSae::new(8, AT)?;
    let error = model.run(&batch, &Plan::new().with_saes(&[&wide], false)?).unwrap_err();
    assert_eq!(error.to_string(), "`blocks.1.hook_resid_pre` is 6 wide, but the SAE reads 8");
    let sae = SplitSae::new(6, AT)?;
    assert!(matches!(Plan::new().with_saes(&[&sae, &sae], false), Err(Error::TwoSaes { .. })));
    let edit = FeatureEdit::ablate([12]);
    let plan = Plan::new().with_saes(&[&sae], false)?.intervene(AT.sae(SaeSite::ActsPost), edit);
    assert!(matches!(
        model.run(&batch, &plan),
        Err(Error::FeatureOutOfRange { feature: 12, d_sae: 12 })
    ));
    let homeless = random(sae_core::sae::SaeSpec::new(sae_core::sae::Architecture::Gated, 6, 8));
    assert!(matches!(Plan::new().with_saes(&[homeless.as_ref()], false), Err(Error::NoHook)));
    Ok(())
}

#[test]
fn latents_have_the_gradient_of_their_decoder_rows() -> Result<()> {
    let (model, batch) = toy();
    let sae = random(specs(6, 20).remove(0));
    let (acts, output) = (AT.sae(SaeSite::ActsPost), AT.sae(SaeSite::Output));
    let plan = Plan::new().with_saes(&[sae.as_ref()], true)?.tap(acts).tap(output);
    let run = model.run(&batch, &plan)?;
    let grads = run.gradients(&run.require_logits()?.sqr()?.sum_all()?)?;
    let want = grads.require(output)?.broadcast_matmul(&sae.decoder().t()?)?;
    Tolerance::Grad.check(grads.require(acts)?, &want, "g W_dec^T");
    Ok(())
}
