//! What must hold in every family: the contract, gradients at every hook, generation with a cache under
//! edits, prompts padded on the left.

use candle_core::{DType, Device, Tensor};
use sae_core::hook::{Add, EditExt, HookName, Logits, Plan, Run, Scale, Site};
use sae_core::model::{Batch, HookedModel, HookedModelExt};
use sae_core::testing::{Tolerance, check_model};
use sae_models::sampling::Sampling;
use sae_models::{Decoder, FAMILIES, GenerateOptions, KvCache, Processing, Result, loss};
use serde_json::{Value, json};

/// A small configuration of each family, with everything that it has switched on (but OPT's ReLU:
/// differences across its kink say nothing about gradients).
fn config(family: &str) -> Value {
    let mut config = match family {
        "gpt2" => json!({"n_embd": 16, "n_head": 4, "n_layer": 2, "n_positions": 24,
            "vocab_size": 19, "scale_attn_by_inverse_layer_idx": true}),
        "gpt_neo" => json!({"hidden_size": 16, "num_heads": 4, "num_layers": 2, "window_size": 3,
            "vocab_size": 19, "max_position_embeddings": 24, "activation_function": "gelu_new",
            "attention_layers": ["global", "local"]}),
        "gptj" => {
            json!({"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 24, "rotary_dim": 4,
            "vocab_size": 19, "activation_function": "gelu_new"})
        }
        "gpt_neox" | "phi" | "opt" => json!({"hidden_size": 16, "num_attention_heads": 2,
            "num_hidden_layers": 2, "intermediate_size": 24, "ffn_dim": 24, "vocab_size": 19,
            "max_position_embeddings": 24, "hidden_act": if family == "phi" {"gelu_new"} else {"gelu"},
            "activation_function": "gelu", "rotary_pct": 0.5, "partial_rotary_factor": 0.5}),
        "hooked_transformer" => json!({"d_model": 16, "n_heads": 4, "d_head": 4, "n_layers": 2,
            "d_mlp": 24, "d_vocab": 19, "n_ctx": 24, "act_fn": "solu_ln", "normalization": "LN",
            "attn_only": false}),
        _ => json!({"hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 6, "num_hidden_layers": 2, "intermediate_size": 24, "vocab_size": 19,
            "max_position_embeddings": 24, "hidden_act": "silu", "rms_norm_eps": 1e-6,
            "sliding_window": 3, "query_pre_attn_scalar": 5, "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 4.0, "sliding_window_pattern": 2}),
    };
    config["model_type"] = family.into();
    match family {
        "gemma3" => json!({"model_type": family, "text_config": config}),
        "llama" => {
            config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 4.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8});
            config
        }
        _ => config,
    }
}

fn models() -> impl Iterator<Item = (&'static str, Decoder)> {
    FAMILIES.into_iter().map(|family| {
        let Value::Object(map) = config(family) else { unreachable!("an object") };
        let seed = 1 + family.len() as u64;
        (family, Decoder::random(&map, Processing::NONE, seed).unwrap())
    })
}

fn batch() -> Batch {
    Batch::rows(&[vec![1, 2, 3, 4, 5], vec![6, 7, 8, 9, 10]]).unwrap()
}

#[test]
fn the_contract_holds() -> Result<()> {
    for (_, model) in models() {
        check_model(&model, &batch())?;
    }
    Ok(())
}

/// Every hook's gradient, by taps and by central differences, on one random direction each.
#[test]
fn gradients_at_every_hook_are_those_of_central_differences() -> Result<()> {
    for (family, model) in models() {
        let metric = |run: &Run| loss(run.require_logits()?, &batch());
        let places = model.places();
        let plan = places.iter().fold(Plan::new().capture_all(model.places()), |p, at| p.tap(*at));
        let run = model.run(&batch(), &plan)?;
        let grads = run.gradients(&metric(&run)?)?;
        for at in places {
            let direction = direction(run.require(at)?)?;
            let difference = |step: f64| -> sae_core::Result<f64> {
                let value = |by: f64| -> sae_core::Result<f64> {
                    let edit = Add((&direction * by)?);
                    let moved = model.run(&batch(), &Plan::new().intervene(at, edit))?;
                    Ok(f64::from(metric(&moved)?.to_scalar::<f32>()?))
                };
                Ok((value(step)? - value(-step)?) / (2.0 * step))
            };
            // Two steps, of which the error of third order cancels (Richardson).
            let numeric = (4.0 * difference(0.003)? - difference(0.006)?) / 3.0;
            let analytic = (grads.require(at)? * &direction)?.sum_all()?.to_dtype(DType::F64)?;
            let analytic = analytic.to_scalar::<f64>()?;
            let gap = (numeric - analytic).abs();
            let scale = numeric.abs().max(0.05);
            assert!(gap < 0.03 * scale, "{family} {at}: {numeric} {analytic}");
        }
    }
    Ok(())
}

/// A random direction of the size of an activation; where that is minus infinity (masked scores), zero.
fn direction(act: &Tensor) -> Result<Tensor> {
    let zero = act.zeros_like()?;
    let seen = act.gt(f32::NEG_INFINITY)?;
    let size = seen.where_cond(act, &zero)?.sqr()?.mean_all()?.sqrt()?;
    let direction = act.randn_like(0.0, 1.0)?.broadcast_mul(&size)?;
    Ok(seen.where_cond(&direction, &zero)?)
}

/// Edits that act on each position by itself: what one run makes of all positions, runs with a cache make
/// of each.
fn edits(model: &Decoder) -> Result<Vec<(HookName, Plan<'static>)>> {
    let vector = |n: usize| Tensor::arange(0f32, n as f32, &Device::Cpu)?.affine(0.05, -0.2);
    let mut all = Vec::new();
    for at in model.places() {
        let width = match model.width_at(at)? {
            Some(width) if width > 1 => width,
            _ => continue,
        };
        let edit = match at.axes().len() {
            3 => Plan::new().intervene(at, Add(vector(width)?)),
            _ => Plan::new().intervene(at, Scale(1.3).and(Scale(0.9))),
        };
        all.push((at, edit));
    }
    Ok(all)
}

#[test]
fn with_a_cache_every_edit_does_what_it_does_in_one_run() -> Result<()> {
    for (family, model) in models() {
        let ids =
            Tensor::new(&[[1u32, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14]], &Device::Cpu)?;
        for (at, plan) in edits(&model)? {
            let whole = model.run(&Batch::new(ids.clone())?, &plan)?;
            let mut past = KvCache::new(model.spec());
            let mut first = 0;
            for n in [4, 1, 1, 1] {
                let next = Batch::new(ids.narrow(1, first, n)?.contiguous()?)?;
                let run = model.run_with_past(&next, &mut past, &plan)?;
                let want = whole.require_logits()?.narrow(1, first, n)?;
                Tolerance::F32.check(run.require_logits()?, &want, &format!("{family} {at}"));
                first += n;
            }
        }
    }
    Ok(())
}

#[test]
fn generation_under_an_edit_is_the_same_with_and_without_a_cache() -> Result<()> {
    for (family, model) in models() {
        let width = model.spec().d_model;
        let vector = (Tensor::ones(width, DType::F32, &Device::Cpu)? * 0.7)?;
        let plan = Plan::new()
            .intervene(HookName::resid_pre(1), Add(vector))
            .intervene(HookName::block(0, Site::V), Scale(0.5));
        let continued = |use_past_kv_cache| {
            let sampling = Sampling::greedy();
            let options = GenerateOptions {
                max_new_tokens: 8,
                sampling,
                use_past_kv_cache,
                ..GenerateOptions::default()
            };
            model.generate(&batch(), &options, &plan)
        };
        assert_eq!(continued(true)?, continued(false)?, "{family}");
    }
    Ok(())
}

#[test]
fn prompts_padded_on_the_left_go_on_as_they_do_alone() -> Result<()> {
    let ids = Tensor::new(&[[0u32, 0, 4, 5, 6], [9, 8, 7, 6, 5]], &Device::Cpu)?;
    let mask = Tensor::new(&[[0u8, 0, 1, 1, 1], [1, 1, 1, 1, 1]], &Device::Cpu)?;
    for (family, model) in models() {
        for use_past_kv_cache in [true, false] {
            let sampling = Sampling::greedy();
            let options = GenerateOptions {
                max_new_tokens: 6,
                sampling,
                use_past_kv_cache,
                ..GenerateOptions::default()
            };
            let together = Batch::new(ids.clone())?.with_mask(&mask)?;
            let together = model.generate(&together, &options, &Plan::new())?;
            let short = model.generate(&Batch::single(&[4, 5, 6])?, &options, &Plan::new())?;
            let long = model.generate(&Batch::single(&[9, 8, 7, 6, 5])?, &options, &Plan::new())?;
            assert_eq!(together[0][2..], short[0][..], "{family}");
            assert_eq!(together[1], long[0], "{family}");
        }
    }
    Ok(())
}

#[test]
fn padding_that_cannot_be_continued_is_refused() -> Result<()> {
    let (_, model) = models().next().unwrap();
    for mask in [[1u8, 1, 0], [0, 0, 0], [1, 0, 1]] {
        let mask = Tensor::new(&[mask], &Device::Cpu)?;
        let batch = Batch::single(&[1, 2, 3])?.with_mask(&mask)?;
        let error = model.generate(&batch, &GenerateOptions::default(), &Plan::new()).unwrap_err();
        assert!(error.to_string().contains("padding on the left only"), "{error}");
    }
    Ok(())
}

#[test]
fn a_query_that_sees_nothing_has_no_pattern_in_either_path() -> Result<()> {
    let mask = Tensor::new(&[[0u8, 0, 1, 1, 1], [1, 1, 1, 0, 0]], &Device::Cpu)?;
    for (family, model) in models() {
        let batch = batch().with_mask(&mask)?;
        let at = HookName::block(0, Site::Pattern);
        let seen = model.run(&batch, &Plan::new().capture(at).logits(Logits::All))?;
        let pattern = seen.require(at)?.narrow(0, 0, 1)?.narrow(2, 0, 2)?;
        assert!(pattern.abs()?.max_all()?.to_scalar::<f32>()? == 0.0, "{family}");
        Tolerance::F32.check(seen.require_logits()?, &model.logits(&batch)?, family);
    }
    Ok(())
}
