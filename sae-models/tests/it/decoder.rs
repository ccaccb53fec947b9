//! The GPT-2 family: contract, opt-ins, padding.

use candle_core::{Device, Tensor};
use sae_core::hook::{HookName, Logits, Plan, Site};
use sae_core::model::{Batch, HookedModel, HookedModelExt, ModelSpec};
use sae_core::testing::{Tolerance, check_model};
use sae_core::{Error, Result};
use sae_models::{Decoder, Flags, KvCache, Processing};

pub(crate) fn spec() -> ModelSpec {
    ModelSpec {
        name: "tiny".to_owned(),
        n_layers: 2,
        d_model: 12,
        n_heads: 3,
        n_key_value_heads: 3,
        d_head: 4,
        d_mlp: 20,
        d_vocab: 17,
        n_ctx: 16,
    }
}

pub(crate) fn model(processing: Processing) -> Decoder {
    Decoder::random_gpt2(&spec(), processing).unwrap()
}

fn batch() -> Batch {
    Batch::rows(&[vec![1, 2, 3, 4, 5], vec![6, 7, 8, 9, 10]]).unwrap()
}

const ALL_FLAGS: Flags = Flags {
    use_attn_result: true,
    use_split_qkv_input: true,
    use_attn_in: false,
    use_hook_mlp_in: true,
    ungroup_grouped_query_attention: false,
};

#[test]
fn the_contract_holds_raw_and_processed() -> sae_models::Result<()> {
    for processing in [Processing::NONE, Processing::DEFAULT] {
        check_model(&model(processing), &batch())?;
    }
    Ok(())
}

#[test]
fn opt_in_hooks_fire_when_asked_for_and_change_nothing() -> sae_models::Result<()> {
    let plain = model(Processing::DEFAULT);
    let opted = plain.clone().with_flags(ALL_FLAGS)?;
    let plan = || Plan::new().capture_all(opted.places());
    let run = opted.run(&batch(), &plan())?;
    Tolerance::F32.check(run.require_logits()?, &plain.logits(&batch())?, "logits");
    for (site, dims) in [
        (Site::Result, vec![2, 5, 3, 12]),
        (Site::QInput, vec![2, 5, 3, 12]),
        (Site::MlpIn, vec![2, 5, 12]),
        (Site::Ln1Scale, vec![2, 5, 3, 1]),
    ] {
        assert_eq!(run.require(HookName::block(1, site))?.dims(), dims);
        let sum = HookName::block(1, Site::Result);
        assert_eq!(run.require(sum)?.rank(), 4);
    }
    Ok(())
}

#[test]
fn hooks_that_cannot_fire_are_refused_with_what_would() {
    let model = model(Processing::DEFAULT);
    for (at, says) in [
        (HookName::block(0, Site::Result), "flag `use_attn_result`"),
        (HookName::block(0, Site::VInput), "flag `use_split_qkv_input`"),
        (HookName::block(0, Site::MlpIn), "flag `use_hook_mlp_in`"),
        (HookName::block(0, Site::RotQ), "did you mean `blocks.0.attn.hook_q`?"),
        (HookName::block(9, Site::Z), "2 layers, the last is 1"),
    ] {
        let message = model.run(&batch(), &Plan::new().capture(at)).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let model = model(Processing::DEFAULT);
    let run = |ids: &[u32]| model.run(&Batch::single(ids)?, &Plan::new()).map(drop);
    assert!(matches!(run(&[]), Err(Error::EmptyPrompt)));
    assert!(matches!(run(&[1; 17]), Err(Error::PromptTooLong { n_positions: 17, n_ctx: 16 })));
    assert!(matches!(run(&[3, 17]), Err(Error::TokenOutOfRange { token: 17, d_vocab: 17 })));
}

#[test]
fn what_a_token_sees_does_not_depend_on_padding() -> Result<()> {
    let model = model(Processing::DEFAULT);
    let alone = model.logits(&Batch::single(&[4, 5, 6])?)?;
    for (row, mask, from) in
        [(vec![0, 0, 4, 5, 6], [0u8, 0, 1, 1, 1], 2), (vec![4, 5, 6, 0, 0], [1u8, 1, 1, 0, 0], 0)]
    {
        let mask = Tensor::new(&[mask], &Device::Cpu)?;
        let batch = Batch::single(&row)?.with_mask(&mask)?;
        let padded = model.logits(&batch)?.narrow(1, from, 3)?;
        Tolerance::F32.check(&padded, &alone, "padded");
        // The step-by-step path, too.
        let pattern = HookName::block(0, Site::Pattern);
        let run = model.run(&batch, &Plan::new().capture(pattern))?;
        Tolerance::F32.check(&run.require_logits()?.narrow(1, from, 3)?, &alone, "stepwise");
        let sums = run.require(pattern)?.sum(3)?;
        assert!(sums.max_all()?.to_scalar::<f32>()? < 1.001);
    }
    Ok(())
}

#[test]
fn cached_keys_and_values_give_the_same_as_one_run() -> Result<()> {
    let model = model(Processing::DEFAULT);
    let whole = model.run(&batch(), &Plan::new().capture_all(model.places()))?;
    let mut past = KvCache::new(model.spec());
    let ids = batch().ids().clone();
    let first = Batch::new(ids.narrow(1, 0, 2)?)?;
    // Nothing is asked for, and yet keys and values must be there afterwards.
    model.run_with_past(&first, &mut past, &Plan::new().logits(Logits::Skip))?;
    assert_eq!(past.len(), 2);
    for plan in [Plan::new(), Plan::new().capture_all(model.places())] {
        let mut past = past.fork()?;
        let rest = Batch::new(ids.narrow(1, 2, 3)?)?;
        let run = model.run_with_past(&rest, &mut past, &plan)?;
        let want = whole.require_logits()?.narrow(1, 2, 3)?;
        Tolerance::F32.check(run.require_logits()?, &want, "logits");
        if let Some(pattern) = run.get(HookName::block(1, Site::Pattern)) {
            assert_eq!(pattern.dims(), [2, 3, 3, 5]);
        }
    }
    assert_eq!(past.len(), 2, "a fork leaves the original alone");
    Ok(())
}

#[test]
fn harvesting_stops_at_the_layer() -> Result<()> {
    let model = model(Processing::DEFAULT);
    let seen = std::sync::atomic::AtomicUsize::new(0);
    let count = |x: Tensor, _: HookName| {
        seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(x)
    };
    let late = HookName::block(1, Site::Q);
    let plan = Plan::new().capture(HookName::resid_post(0)).logits(Logits::Skip);
    model.run(&batch(), &plan)?;
    model.run(&batch(), &Plan::new().stop_at_layer(1).intervene(late, count))?;
    assert_eq!(seen.into_inner(), 0, "nothing of block 1 runs");
    Ok(())
}
