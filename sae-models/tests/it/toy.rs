//! TransformerLens' own small models: what it computes with them, raw and processed, and what its cache
//! derives (`scripts/make_toy_models.py` made the fixtures).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use sae_core::hook::{ActivationCache, HookName, Plan, PosSlice};
use sae_core::io::{Folder, TensorFile};
use sae_core::model::{Batch, CacheOptions, HookedModel, HookedModelExt};
use sae_core::testing::{Tolerance, check_model};
use sae_models::{Decoder, Flags, Processing, Result, Stack, StackOptions, Sublayers};

const ALL: [&str; 4] = ["solu-2l", "gelu-2l", "attn-only-2l", "attn-only-2l-shortformer"];

struct Fixture {
    folder: PathBuf,
    expected: TensorFile,
    names: BTreeMap<String, Vec<String>>,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let expected = TensorFile::open(&folder.join("expected.safetensors")).unwrap();
        let names = std::fs::read(folder.join("expected.json")).unwrap();
        Self { folder, expected, names: serde_json::from_slice(&names).unwrap() }
    }

    fn model(&self, processing: Processing) -> Decoder {
        Decoder::load(&Folder::disk(&self.folder), processing).unwrap()
    }

    fn tokens(&mut self) -> Batch {
        Batch::new(self.expected.raw("tokens").unwrap().to_dtype(DType::U32).unwrap()).unwrap()
    }

    fn want(&mut self, name: &str) -> Tensor {
        self.expected.tensor(name).unwrap()
    }

    fn check(&mut self, name: &str, got: &Stack) {
        let name = format!("derived.{name}");
        assert_eq!(got.labels, self.names[&name], "{name}");
        let want = self.want(&name);
        Tolerance::F32.check(&got.components, &want, &name);
    }

    fn cached(&mut self, model: &Decoder) -> ActivationCache {
        model.run_with_cache(&self.tokens(), Plan::new(), CacheOptions::default()).unwrap().1
    }
}

#[test]
fn every_hook_has_the_value_that_transformer_lens_gives_it() -> Result<()> {
    for name in ALL {
        let mut fixture = Fixture::open(name);
        let tokens = fixture.tokens();
        for (which, processing) in [("raw", Processing::NONE), ("processed", Processing::DEFAULT)] {
            let model = fixture.model(processing);
            let what = format!("{name} {which}");
            let run = model.run(&tokens, &Plan::new().capture_all(model.places()))?;
            let logits = fixture.want(&format!("{which}.logits"));
            Tolerance::F32.check(run.require_logits()?, &logits, &what);
            // Points that TransformerLens does not have.
            let ours = ["attn.hook_in", "attn.hook_out", "mlp.hook_in", "mlp.hook_out"];
            let fired: Vec<String> = run.captured().iter().map(|(at, _)| at.to_string()).collect();
            let own = |at: &&String| {
                ours.iter().any(|end| at.ends_with(end)) || at.starts_with("unembed")
            };
            let theirs: Vec<&String> = fired.iter().filter(|at| !own(at)).collect();
            let hooks = fixture.names[&format!("{which}.hooks")].clone();
            assert_eq!(theirs, hooks.iter().collect::<Vec<_>>(), "{what}");
            for hook in hooks {
                // It shows a raw norm after gain and bias.
                let folded = which == "processed" && !name.ends_with("shortformer");
                if hook.ends_with("hook_normalized") && !folded {
                    continue;
                }
                let got = run.require(hook.parse()?)?;
                let want = fixture.want(&format!("{which}.{hook}"));
                Tolerance::F32.check(got, &want, &format!("{what} {hook}"));
            }
        }
    }
    Ok(())
}

#[test]
fn the_contract_holds_with_and_without_inputs_per_head() -> Result<()> {
    for name in ALL {
        let mut fixture = Fixture::open(name);
        let tokens = fixture.tokens();
        let model = fixture.model(Processing::NONE);
        check_model(&model, &tokens)?;
        let split = Flags { use_split_qkv_input: true, use_attn_result: true, ..Flags::default() };
        let split = model.clone().with_flags(split)?;
        let logits = split.logits(&tokens)?;
        Tolerance::F32.check(&logits, &model.logits(&tokens)?, &format!("{name} split"));
    }
    Ok(())
}

#[test]
fn what_a_cache_derives_is_what_transformer_lens_derives() -> Result<()> {
    for name in ["solu-2l", "gelu-2l", "attn-only-2l"] {
        let mut fixture = Fixture::open(name);
        let has_mlp = name != "attn-only-2l";
        let model = fixture.model(Processing::DEFAULT);
        let cache = fixture.cached(&model);
        let run = model.cached(&cache);
        let all = StackOptions::default();
        let ln = StackOptions { apply_ln: true, ..all.clone() };
        let first = StackOptions { layer: Some(1), ..all.clone() };
        let first_ln = StackOptions { layer: Some(1), ..ln.clone() };
        let last = StackOptions { pos_slice: PosSlice::At(-1), ..first_ln.clone() };
        fixture.check("accumulated", &run.accumulated_resid(&all, has_mlp)?);
        fixture.check("accumulated_ln_1", &run.accumulated_resid(&first_ln, false)?);
        fixture.check("accumulated_ln", &run.accumulated_resid(&ln, false)?);
        let decomposed = run.decompose_resid(&all, Sublayers::All, true)?;
        fixture.check("decomposed", &decomposed);
        let attention = run.decompose_resid(&first_ln, Sublayers::Attention, false)?;
        fixture.check("decomposed_attn_1", &attention);
        fixture.check("heads", &run.stack_head_results(&all, true)?);
        fixture.check("heads_1_last", &run.stack_head_results(&last, false)?);
        fixture.check("full", &run.full_resid_decomposition(&all, false)?);
        if has_mlp {
            let input = StackOptions { mlp_input: true, ..first_ln };
            let parts = run.decompose_resid(&input, Sublayers::All, true)?;
            fixture.check("decomposed_mlp_input", &parts);
            fixture.check("neurons", &run.stack_neuron_results(&all, true)?);
            let input = StackOptions { mlp_input: true, ..first };
            fixture.check("full_neurons", &run.full_resid_decomposition(&input, true)?);
        }
        let token = Tensor::new(6u32, &Device::Cpu)?;
        let attrs = run.logit_attrs(&decomposed.components, &token, None, &PosSlice::All)?;
        Tolerance::F32.check(&attrs, &fixture.want("derived.attrs"), "attrs");
        let last = PosSlice::At(-1);
        let options = StackOptions { pos_slice: last.clone(), ..all };
        let stack = run.decompose_resid(&options, Sublayers::All, true)?.components;
        let answers = Tensor::new(&[6u32, 2], &Device::Cpu)?;
        let wrong = Tensor::new(&[10u32, 3], &Device::Cpu)?;
        let attrs = run.logit_attrs(&stack, &answers, Some(&wrong), &last)?.squeeze(2)?;
        Tolerance::F32.check(&attrs, &fixture.want("derived.attrs_difference"), "differences");
    }
    Ok(())
}

#[test]
fn parts_sum_to_the_logits_and_the_lens_ends_with_them() -> Result<()> {
    let mut fixture = Fixture::open("solu-2l");
    let model = fixture.model(Processing::DEFAULT);
    let cache = fixture.cached(&model);
    let run = model.cached(&cache);
    let logits = fixture.want("processed.logits");
    let lens = run.logit_lens(&PosSlice::All)?;
    assert_eq!(lens.labels, ["0_pre", "1_pre", "final_post"]);
    Tolerance::F32.check(&lens.components.get(2)?, &logits, "the lens after the last layer");
    let parts = run.full_resid_decomposition(&StackOptions::default(), true)?;
    let token = Tensor::new(6u32, &Device::Cpu)?;
    let attrs = run.logit_attrs(&parts.components, &token, None, &PosSlice::All)?;
    let bias = model.parameters()?.into_iter().find(|(name, _)| name == "unembed.b_U");
    let sum = attrs.sum(0)?.broadcast_add(&bias.unwrap().1.get(6)?)?;
    Tolerance::F32.check(&sum, &logits.narrow(2, 6, 1)?.squeeze(2)?, "the sum of all parts");
    Ok(())
}

#[test]
fn what_was_not_cached_is_named() {
    let model = Fixture::open("gelu-2l").model(Processing::DEFAULT);
    let cache = ActivationCache::default();
    let error =
        model.cached(&cache).accumulated_resid(&StackOptions::default(), false).unwrap_err();
    assert!(error.to_string().contains(&HookName::resid_pre(0).to_string()), "{error}");
    let beyond = StackOptions { layer: Some(3), ..StackOptions::default() };
    assert!(model.cached(&cache).accumulated_resid(&beyond, false).is_err());
}
