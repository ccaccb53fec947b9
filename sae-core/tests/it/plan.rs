//! Plans: order of steps, early stop, taps, and what they refuse.

use candle_core::{DType, Device, Tensor};
use sae_core::hook::{Add, Axis, EditExt, HookName, Logits, Plan, PosSlice, Scale, Site, Zero};
use sae_core::model::{Batch, CacheOptions, HookedModel, HookedModelExt};
use sae_core::testing::{Tolerance, ToyModel, check_model};
use sae_core::{Error, Result};

const AT: HookName = HookName::resid_pre(1);

fn toy() -> (ToyModel, Batch) {
    (ToyModel::new(3, 6).unwrap(), Batch::rows(&[vec![1, 2, 3, 4], vec![5, 6, 7, 8]]).unwrap())
}

fn refused(plan: &Plan<'_>, says: &str) {
    let (model, batch) = toy();
    let message = model.run(&batch, plan).unwrap_err().to_string();
    assert!(message.contains(says), "{message:?} does not say {says:?}");
}

#[test]
fn the_toy_keeps_the_contract() -> Result<()> {
    let (model, batch) = toy();
    check_model(&model, &batch)
}

#[test]
fn captures_see_what_the_steps_before_them_made() -> Result<()> {
    let (model, batch) = toy();
    let plain = model.activations(&batch, AT)?;
    let plan = Plan::new().capture(AT).intervene(AT, Scale(2.0));
    Tolerance::Bits.check(model.run(&batch, &plan)?.require(AT)?, &plain, "before");
    let plan = Plan::new().intervene(AT, Scale(2.0)).capture(AT);
    Tolerance::Bits.check(model.run(&batch, &plan)?.require(AT)?, &(plain * 2.0)?, "after");
    Ok(())
}

#[test]
fn edits_keep_to_their_positions_and_compose() -> Result<()> {
    let (model, batch) = toy();
    let one = Tensor::ones(6, DType::F32, &Device::Cpu)?;
    let edit = Add(one).and(Scale(2.0)).only(Axis::Pos, [2]);
    let run = model.run(&batch, &Plan::new().intervene(AT, edit).capture(AT))?;
    let plain = model.activations(&batch, AT)?;
    let want = Tensor::cat(
        &[
            &plain.narrow(1, 0, 2)?,
            &((plain.narrow(1, 2, 1)? + 1.0)? * 2.0)?,
            &plain.narrow(1, 3, 1)?,
        ],
        1,
    )?;
    Tolerance::F32.check(run.require(AT)?, &want, "position 2");
    Ok(())
}

#[test]
fn a_closure_is_an_edit_and_then_joins_plans() -> Result<()> {
    let (model, batch) = toy();
    let double = Plan::new().intervene(AT, |x: Tensor, _: HookName| Ok((x * 2.0)?));
    let run = model.run(&batch, &double.then(Plan::new().capture(AT).logits(Logits::Skip)))?;
    assert!(run.logits().is_none());
    Tolerance::Bits.check(run.require(AT)?, &(model.activations(&batch, AT)? * 2.0)?, "doubled");
    Ok(())
}

#[test]
fn taps_agree_with_central_differences() -> Result<()> {
    let (model, batch) = toy();
    let places = [HookName::resid_pre(0), AT, HookName::resid_post(2)];
    let metric = |run: &sae_core::hook::Run| -> Result<Tensor> {
        Ok(run.require_logits()?.sqr()?.sum_all()?)
    };
    let plan = places.iter().fold(Plan::new(), |plan, at| plan.tap(*at));
    let run = model.run(&batch, &plan)?;
    let grads = run.gradients(&metric(&run)?)?;
    const STEP: f64 = 1e-2;
    for at in places {
        let direction = Tensor::randn(0f32, 1.0, (2, 4, 6), &Device::Cpu)?;
        let value = |sign: f64| -> Result<f64> {
            let moved = model
                .run(&batch, &Plan::new().intervene(at, Add((&direction * (sign * STEP))?)))?;
            Ok(f64::from(metric(&moved)?.to_scalar::<f32>()?))
        };
        let numeric = (value(1.0)? - value(-1.0)?) / (2.0 * STEP);
        let analytic = f64::from((grads.require(at)? * &direction)?.sum_all()?.to_scalar::<f32>()?);
        assert!(
            (numeric - analytic).abs() < 1e-2 * numeric.abs().max(1.0),
            "{at}: {numeric} {analytic}"
        );
    }
    Ok(())
}

#[test]
fn caching_keeps_names_positions_and_batch_as_asked() -> Result<()> {
    let (model, _) = toy();
    let batch = Batch::single(&[1, 2, 3])?;
    let options = CacheOptions {
        pos_slice: PosSlice::At(-1),
        remove_batch_dim: true,
        stop_at_layer: Some(2),
        ..CacheOptions::default()
    };
    let (run, cache) = model.run_with_cache(&batch, Plan::new(), options)?;
    assert_eq!(run.resid().unwrap().dims(), [1, 3, 6]);
    assert_eq!(cache.names().count(), 4);
    assert_eq!(cache.by_name("blocks.1.hook_resid_post")?.dims(), [1, 6]);
    assert!(matches!(cache.get(HookName::resid_pre(2)), Err(Error::NotCaptured { .. })));
    let two = Batch::rows(&[vec![1], vec![2]])?;
    let options = CacheOptions { remove_batch_dim: true, ..CacheOptions::default() };
    assert!(matches!(
        model.run_with_cache(&two, Plan::new(), options),
        Err(Error::BatchNotOne { batch: 2, .. })
    ));
    Ok(())
}

#[test]
fn plans_that_do_not_fit_are_refused_with_what_would() {
    refused(&Plan::new().capture(HookName::block(0, Site::Z)), "no such hook");
    refused(&Plan::new().capture(HookName::resid_pre(3)), "3 layers, the last is 2");
    refused(&Plan::new().stop_at_layer(4), "0..=3");
    refused(
        &Plan::new().capture(AT.sae(sae_core::hook::SaeSite::ActsPost)),
        "no SAE is spliced in",
    );
    refused(
        &Plan::new().intervene(AT, |x: Tensor, _| Ok(x.narrow(1, 0, 1)?)),
        "[2, 1, 6], expected [2, 4, 6]",
    );
    refused(&Plan::new().intervene(AT, Zero.only(Axis::Head, [0])), "no Head axis");
    refused(&Plan::new().intervene(AT, Zero.only(Axis::Pos, [4])), "0..4 of the Pos axis");
    refused(
        &Plan::new().capture(AT).pos_slice(PosSlice::At(4)),
        "position 4: outside the 4 positions",
    );
    refused(
        &Plan::new().capture(AT).pos_slice(PosSlice::Range {
            start: None,
            stop: None,
            step: Some(0),
        }),
        "step is 0",
    );
}

#[test]
fn batches_that_are_none_are_refused() {
    assert!(matches!(Batch::single(&[]), Err(Error::EmptyPrompt)));
    assert!(matches!(Batch::rows(&[]), Err(Error::EmptyPrompt)));
    assert!(matches!(Batch::rows(&[vec![1], vec![1, 2]]), Err(Error::InputShape { .. })));
    let mask = Tensor::ones((1, 2), DType::U8, &Device::Cpu).unwrap();
    assert!(matches!(Batch::single(&[1]).unwrap().with_mask(&mask), Err(Error::InputShape { .. })));
}
