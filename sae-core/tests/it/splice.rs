//! An SAE inside a running model.

use candle_core::Tensor;
use sae_core::hook::{Axis, EditExt, HookName, Plan, SaeSite, Scale};
use sae_core::model::{Batch, CacheOptions, HookedModel, HookedModelExt};
use sae_core::sae::{Architecture, FeatureEdit, FeatureOp, RunWithSaes, SaeExt, Splice};
use sae_core::testing::{SplitSae, Tolerance, ToyModel};
use sae_core::{Error, Result};

use crate::saes::{AFTER, AT, every_spec, random, specs, transcoder};

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
    for spec in every_spec(6, 20) {
        let name = spec.architecture_name();
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
fn every_point_of_every_architecture_fires_and_takes_edits() -> Result<()> {
    let (model, batch) = toy();
    for spec in every_spec(6, 20) {
        let name = spec.architecture_name();
        let at = spec.splice_at().unwrap();
        let has_pre = spec.architecture.has_pre_activations();
        let sae = random(spec);
        let spliced = || Plan::new().with_saes(&[sae.as_ref()], true);
        let fires = |site: &&SaeSite| has_pre || **site != SaeSite::ActsPre;
        let points: Vec<HookName> =
            SaeSite::ALL.iter().filter(fires).map(|site| at.sae(*site)).collect();
        let run = model.run(&batch, &spliced()?.capture_all(points.iter().copied()))?;
        let fired: Vec<HookName> = run.captured().iter().map(|(at, _)| *at).collect();
        assert_eq!(fired, points, "{name}");
        for point in points {
            let edited = model.run(&batch, &spliced()?.intervene(point, Scale(3.0)))?;
            let moved = (edited.require_logits()? - run.require_logits()?)?;
            assert!(moved.abs()?.max_all()?.to_scalar::<f32>()? > 1e-4, "{name}: {point}");
        }
        let pre = model.run(&batch, &spliced()?.capture(at.sae(SaeSite::ActsPre)));
        assert_eq!(pre.is_ok(), has_pre, "{name}");
        assert!(has_pre || matches!(pre, Err(Error::NoSaeThere { .. })), "{name}");
    }
    Ok(())
}

#[test]
fn the_skip_path_of_a_transcoder_survives_attachment() -> Result<()> {
    let (model, batch) = toy();
    for architecture in [Architecture::Standard { tanh: false }, Architecture::JumpRelu] {
        let spec = transcoder(architecture, (6, 20, 6), true);
        let sae = random(spec);
        let tensors = sae.tensors();
        let (_, w_skip) = tensors.iter().find(|(name, _)| name == "W_skip").unwrap();
        let read = model.activations(&batch, AT)?;
        let skipped = read.broadcast_matmul(&w_skip.t()?)?;
        let [acts, recons, error, output] =
            [SaeSite::ActsPost, SaeSite::Recons, SaeSite::Error, SaeSite::Output]
                .map(|site| AFTER.sae(site));
        let spliced = |error_term| {
            Plan::new()
                .with_saes(&[sae.as_ref()], error_term)
                .map(|p| p.capture_all([recons, output]))
        };
        let run = model.run(&batch, &spliced(false)?)?;
        let want = (run.require(recons)? + &skipped)?;
        Tolerance::F32.check(run.require(output)?, &want, "recons + x W_skip^T");
        Tolerance::F32.check(
            run.require(output)?,
            &sae.reconstruct(&read)?,
            "as outside the model",
        );
        let run = model.run(&batch, &spliced(true)?.capture(error))?;
        let want = ((run.require(recons)? + &skipped)? + run.require(error)?)?;
        Tolerance::F32.check(run.require(output)?, &want, "recons + x W_skip^T + error");
        Tolerance::F32.check(run.require(output)?, &model.activations(&batch, AFTER)?, "unchanged");
        let edit = FeatureEdit::new([7], FeatureOp::Add(1.5));
        let edited = model.run(&batch, &spliced(true)?.intervene(acts, edit))?;
        let moved = (edited.require(output)? - run.require(output)?)?;
        let want = (sae.decoder().get(7)? * 1.5)?.broadcast_as(moved.shape())?;
        Tolerance::F32.check(&moved, &want, "1.5 W_dec[7]");
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

#[test]
fn ablating_a_latent_takes_its_share_and_nothing_else_away() -> Result<()> {
    let (model, batch) = toy();
    for spec in specs(6, 20) {
        // Only without a scale in decode is the share `f W_dec`.
        use sae_core::sae::Architecture::{AbsTopK, TopK};
        if let TopK { rescale_acts_by_decoder_norm: true, .. }
        | AbsTopK { rescale_acts_by_decoder_norm: true, .. } = spec.architecture
        {
            continue;
        }
        let sae = random(spec);
        let (acts, output) = (AT.sae(SaeSite::ActsPost), AT.sae(SaeSite::Output));
        let spliced = || Plan::new().intervene(AT, Splice::new(sae.as_ref()).use_error_term(true));
        let before = model.run(&batch, &spliced().capture(acts).capture(output))?;
        let f = before.require(acts)?;
        let strongest = f.flatten_to(1)?.abs()?.sum(0)?.argmax(0)?.to_scalar::<u32>()?;
        let strongest = usize::try_from(strongest).unwrap();
        let edit = FeatureEdit::ablate([strongest]);
        let after = model.run(&batch, &spliced().intervene(acts, edit).capture(output))?;
        let moved = (after.require(output)? - before.require(output)?)?;
        let share = f.narrow(2, strongest, 1)?.broadcast_mul(&sae.decoder().get(strongest)?)?;
        assert!(share.abs()?.max_all()?.to_scalar::<f32>()? > 0.0, "the latent must be on");
        Tolerance::F32.check(&moved, &share.neg()?, sae.spec().architecture.as_str());
    }
    Ok(())
}

#[test]
fn the_points_of_a_splice_fit_together() -> Result<()> {
    let (model, batch) = toy();
    let sae = random(specs(6, 20).remove(0));
    let points = SaeSite::ALL.iter().map(|site| AT.sae(*site));
    let plan = Plan::new().with_saes(&[sae.as_ref()], true)?.capture_all(points.clone());
    let run = model.run(&batch, &plan)?;
    let fired: Vec<HookName> = run.captured().iter().map(|(at, _)| *at).collect();
    assert_eq!(fired, points.collect::<Vec<_>>(), "in the order of SaeSite::ALL");
    let at = |site| run.require(AT.sae(site));
    Tolerance::Bits.check(at(SaeSite::Input)?, &model.activations(&batch, AT)?, "input");
    Tolerance::Bits.check(at(SaeSite::ActsPost)?, &at(SaeSite::ActsPre)?.relu()?, "latents");
    let sum = (at(SaeSite::Recons)? + at(SaeSite::Error)?)?;
    Tolerance::Bits.check(at(SaeSite::Output)?, &sum, "output");
    Tolerance::F32.check(at(SaeSite::Output)?, at(SaeSite::Input)?, "nothing was edited");
    Ok(())
}

#[test]
fn a_splice_inside_another_edit_keeps_its_points_and_tokens() -> Result<()> {
    let (model, batch) = toy();
    let sae = random(specs(6, 20).remove(0));
    let (acts, output) = (AT.sae(SaeSite::ActsPost), AT.sae(SaeSite::Output));
    let splice = || Splice::new(sae.as_ref()).exclude_tokens([0, 2]);
    let plain = model.run(&batch, &Plan::new().intervene(AT, splice()).capture(output))?;
    let plain = plain.require(output)?;
    let doubled = Plan::new().intervene(AT, splice().and(Scale(2.0))).capture_all([acts, AT]);
    let run = model.run(&batch, &doubled)?;
    assert_eq!(run.require(acts)?.dims(), [2, 3, 20]);
    Tolerance::Bits.check(run.require(AT)?, &(plain * 2.0)?, "spliced, then doubled");
    let first = Plan::new().intervene(AT, splice().only(Axis::Pos, [0])).capture_all([acts, AT]);
    let run = model.run(&batch, &first)?;
    assert_eq!(run.require(acts)?.dims(), [2, 3, 20]);
    let untouched = model.activations(&batch, AT)?;
    let want = Tensor::cat(&[&plain.narrow(1, 0, 1)?, &untouched.narrow(1, 1, 2)?], 1)?;
    Tolerance::Bits.check(run.require(AT)?, &want, "spliced at the first position");
    Ok(())
}

#[test]
fn tokens_can_be_excluded_only_where_tokens_are_known() -> Result<()> {
    let (model, batch) = toy();
    let sae = random(specs(6, 20).remove(0));
    let resid = model.activations(&batch, AT)?;
    let plan = Plan::new().intervene(AT, Splice::new(sae.as_ref()).exclude_tokens([0]));
    let error = model.resume(&resid, 1, None, &plan).unwrap_err();
    assert!(matches!(error, Error::TokensUnknown { at: AT }), "{error}");
    let plan = Plan::new().intervene(AT, Splice::new(sae.as_ref()));
    assert!(model.resume(&resid, 1, None, &plan).is_ok(), "without exclusions none are needed");
    Ok(())
}
