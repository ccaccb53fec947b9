//! Properties, on random input.

use candle_core::{Device, Tensor, Var};
use proptest::collection::vec;
use proptest::prelude::{Just, any, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy as _;
use sae_core::hook::{HookName, PosSlice};
use sae_core::model::{Batch, HookedModelExt};
use sae_core::ops::{
    Activation, Centre, activate, encode_above, encode_gated, encode_top_k, jump, keep_largest,
    keep_top_k, linear, normalize, relu, softmax, top_k_row,
};
use sae_core::sae::{Codes, Normalize, RunWithSaes, SaeSpec};
use sae_core::testing::{Tolerance, ToyModel};
use sae_core::{Error, Result};

use crate::saes::{every_spec, inputs, inputs_for, random, specs};

/// Python's `range(n)[start:stop:step]` without its arithmetic: walk from the first index until one
/// is past the stop, and keep those that exist.
fn python_slice(n: isize, start: Option<isize>, stop: Option<isize>, step: isize) -> Vec<u32> {
    let from_end = |i: isize| if i < 0 { i + n } else { i };
    let forward = step > 0;
    // Walking in single steps from outside, the first index that exists is where Python begins.
    let begin = start.map_or(if forward { 0 } else { n - 1 }, from_end);
    let mut at = begin;
    while (forward && at < 0) || (!forward && at >= n) {
        at += step.signum();
    }
    let past = |i: isize| {
        stop.map(from_end).is_some_and(|stop| if forward { i >= stop } else { i <= stop })
    };
    let mut kept = Vec::new();
    while (0..n).contains(&at) && !past(at) {
        kept.push(u32::try_from(at).unwrap());
        at += step;
    }
    kept
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics_and_reads_back(text in "\\PC{0,40}") {
        if let Ok(name) = text.parse::<HookName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn near_names_never_panic(layer in any::<i32>(), tail in "[a-z_.0-9]{0,20}") {
        let text = format!("blocks.{layer}.{tail}");
        if let Ok(name) = text.parse::<HookName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn slices_are_python_s(
        n in 0isize..12,
        start in proptest::option::of(-15isize..15),
        stop in proptest::option::of(-15isize..15),
        step in (-4isize..5).prop_filter("not zero", |s| *s != 0),
    ) {
        let slice = PosSlice::Range { start, stop, step: Some(step) };
        let kept = slice.positions(usize::try_from(n).unwrap()).unwrap();
        prop_assert_eq!(kept, python_slice(n, start, stop, step));
    }

    #[test]
    fn top_k_keeps_at_most_k_and_the_right_ones(row in vec(-5i8..5, 1..40), k in 0usize..12) {
        let row: Vec<f32> = row.into_iter().map(f32::from).collect();
        let kept = top_k_row(&row, k);
        prop_assert_eq!(kept.len(), k.min(row.len()));
        prop_assert!(kept.is_sorted_by_key(|(i, _)| *i));
        let least = kept.iter().map(|(_, v)| *v).fold(f32::INFINITY, f32::min);
        for (i, v) in (0u32..).zip(&row) {
            let inside = kept.iter().any(|(j, _)| *j == i);
            prop_assert!(inside || *v <= least, "{} is larger than what was kept", v);
            // Ties: of equal values the lower index is kept.
            if !inside && k > 0 && (*v - least).abs() < f32::EPSILON {
                let later = kept.iter().any(|(j, w)| *j > i && (*w - least).abs() < f32::EPSILON);
                prop_assert!(!later, "a later equal was preferred to {}", i);
            }
        }
    }

    #[test]
    fn top_k_does_not_care_for_order_where_there_are_no_ties(
        row in Just((-20i8..20).map(f32::from).collect::<Vec<_>>()).prop_shuffle(),
        order in Just((0usize..40).collect::<Vec<_>>()).prop_shuffle(),
        k in 0usize..41,
    ) {
        let shuffled: Vec<f32> = order.iter().map(|i| row[*i]).collect();
        let mut back: Vec<(u32, f32)> = top_k_row(&shuffled, k)
            .into_iter()
            .map(|(i, v)| (u32::try_from(order[i as usize]).unwrap(), v))
            .collect();
        back.sort_unstable_by_key(|(i, _)| *i);
        prop_assert_eq!(back, top_k_row(&row, k));
    }

    #[test]
    fn top_k_of_signed_values_keeps_the_positive_ones(row in vec(-3f32..3.0, 1..40), k in 1usize..12) {
        let n = row.len();
        let mut sorted: Vec<f32> = row.iter().map(|v| v.max(0.0)).collect();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        sorted.truncate(k);
        let h = Tensor::from_vec(row, (1, n), &Device::Cpu).unwrap();
        let mut kept = keep_top_k(&h, k).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        kept.sort_unstable_by(|a, b| b.total_cmp(a));
        kept.truncate(k);
        prop_assert_eq!(kept, sorted);
    }

    #[test]
    fn splicing_with_the_error_term_is_the_identity(
        which in 0usize..6,
        d_sae in 4usize..40,
        rows in vec(vec(0u32..11, 4), 1..4),
    ) {
        let model = ToyModel::new(2, 5).unwrap();
        let batch = Batch::rows(&rows).unwrap();
        let sae = random(specs(5, d_sae).swap_remove(which));
        let run = model.run_with_saes(&batch, &[sae.as_ref()], true).unwrap();
        let plain = model.logits(&batch).unwrap();
        Tolerance::F32.check(run.require_logits().unwrap(), &plain, "logits");
    }

    #[test]
    fn codes_and_dense_are_the_same(rows in 1usize..6, d_sae in 1usize..20, seed in vec(-1i8..2, 120)) {
        let values: Vec<f32> = seed.iter().take(rows * d_sae).map(|v| f32::from(*v)).collect();
        let dense = Tensor::from_vec(values, (rows, d_sae), &Device::Cpu).unwrap();
        let codes = Codes::from_dense(&dense).unwrap();
        Tolerance::Bits.check(&codes.to_dense().unwrap(), &dense, "round trip");
    }

    #[test]
    fn codes_that_contradict_themselves_are_refused(
        d_sae in 1usize..6,
        offsets in vec(0usize..6, 1..5),
        indices in vec(0u32..8, 0..6),
    ) {
        let values = vec![1f32; indices.len()];
        if let Ok(codes) = Codes::new(d_sae, offsets, indices, values) {
            let dense = codes.to_dense().unwrap();
            prop_assert_eq!(dense.dims(), &[codes.rows(), d_sae]);
        }
    }

    #[test]
    fn sparse_and_a_few_latents_equal_dense_on_any_shape(
        rows in 1usize..70,
        d_in in 2usize..20,
        d_sae in 4usize..90,
        mode in 0usize..Normalize::ALL.len(),
        features in vec(any::<proptest::sample::Index>(), 1..5),
    ) {
        let features: Vec<usize> = features.iter().map(|i| i.index(d_sae)).collect();
        for spec in every_spec(d_in, d_sae) {
            let normalize_activations = Normalize::ALL[mode];
            if !normalize_activations.fits(&spec.architecture) {
                continue;
            }
            let x = inputs_for(&spec, rows);
            let sae = random(SaeSpec { normalize_activations, ..spec });
            let (acts, frame) = sae.encode(&x).unwrap();
            let (codes, sparse_frame) = sae.encode_sparse(&x).unwrap();
            let sparse = codes.to_dense().unwrap().reshape(acts.shape()).unwrap();
            let name = sae.spec().architecture_name();
            Tolerance::F32.check(&sparse, &acts, name);
            let dense = sae.decode(&acts, &frame).unwrap();
            Tolerance::F32.check(&sae.decode_sparse(&codes, &sparse_frame).unwrap(), &dense, name);
            let few = sae.encode_features(&x, &features).unwrap();
            let index: Vec<u32> = features.iter().map(|f| u32::try_from(*f).unwrap()).collect();
            let index = Tensor::new(index, &Device::Cpu).unwrap();
            let want = acts.index_select(&index, acts.rank() - 1).unwrap();
            Tolerance::F32.check(&few, &want, name);
        }
    }

    #[test]
    fn the_largest_of_a_batch_are_its_largest(
        rows in vec(vec(-3i8..4, 6), 1..8),
        n in 0usize..30,
    ) {
        let flat: Vec<f32> = rows.iter().flatten().map(|v| f32::from(*v)).collect();
        let mut sorted: Vec<f32> = flat.iter().copied().filter(|v| *v > 0.0).collect();
        sorted.sort_unstable_by(|a, b| b.total_cmp(a));
        sorted.truncate(n);
        let h = Tensor::from_vec(flat.clone(), (rows.len(), 6), &Device::Cpu).unwrap();
        let kept = keep_largest(&h, n).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mut on: Vec<f32> = kept.iter().copied().filter(|v| *v != 0.0).collect();
        on.sort_unstable_by(|a, b| b.total_cmp(a));
        prop_assert_eq!(on, sorted);
        for (kept, value) in kept.iter().zip(&flat) {
            prop_assert!(*kept == 0.0 || kept.to_bits() == value.to_bits());
        }
    }

    #[test]
    fn jump_at_threshold_zero_is_relu(values in vec(-3f32..3.0, 1..50)) {
        let n = values.len();
        let h = Tensor::from_vec(values, (1, n), &Device::Cpu).unwrap();
        let zero = Tensor::zeros(n, candle_core::DType::F32, &Device::Cpu).unwrap();
        Tolerance::Bits.check(&jump(&h, &zero).unwrap(), &relu(&h).unwrap(), "relu");
    }
}

/// `d(sum k f(x))/dx` along a random direction, by the op's backward and by central differences.
fn check_gradient(what: &str, x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) {
    const STEP: f64 = 1e-2;
    let run = || -> Result<(f64, f64)> {
        let k = f(x)?.randn_like(0.0, 1.0)?;
        let direction = x.randn_like(0.0, 1.0)?;
        let value = |x: &Tensor| -> Result<f64> {
            Ok(f64::from((f(x)? * &k)?.sum_all()?.to_scalar::<f32>()?))
        };
        let at = |sign: f64| value(&(x + (&direction * (sign * STEP))?)?);
        let numeric = (at(1.0)? - at(-1.0)?) / (2.0 * STEP);
        let var = Var::from_tensor(x)?;
        let grads = (f(var.as_tensor())? * &k)?.sum_all()?.backward()?;
        let grad = grads.get(var.as_tensor()).cloned().ok_or(Error::NoLogits)?;
        Ok((numeric, f64::from((grad * direction)?.sum_all()?.to_scalar::<f32>()?)))
    };
    let (numeric, analytic) = run().unwrap();
    assert!(
        (numeric - analytic).abs() < 2e-2 * numeric.abs().max(1.0),
        "{what}: {numeric}, {analytic}"
    );
}

#[test]
fn closed_form_gradients_are_those_of_central_differences() -> Result<()> {
    let w = inputs(6, 5);
    let wt = inputs(6, 6);
    let gain = inputs(1, 6).squeeze(0)?;
    let bias = inputs(1, 6).squeeze(0)?;
    for _ in 0..8 {
        // Away from kinks, where differences across them would be no gradient.
        let x = inputs(4, 6);
        let away = (&x + (x.sign()? * 0.1)?)?;
        check_gradient("linear", &x, |x| linear(x, &w, None));
        check_gradient("linear with bias", &x, |x| linear(x, &wt.t()?, Some(&gain)));
        check_gradient("gelu", &x, |x| activate(x, Activation::GeluTanh));
        check_gradient("relu", &away, relu);
        check_gradient("softmax", &x, softmax);
        for centre in [Centre::Mean, Centre::Zero] {
            check_gradient("norm", &x, |x| normalize(x, centre, 1e-5, Some((&gain, Some(&bias)))));
        }
        let zero = Tensor::zeros(6, candle_core::DType::F32, &Device::Cpu)?;
        check_gradient("jump", &away, |x| jump(x, &zero));
        // Nothing near the thresholds, on both sides of them.
        let thresholds = Tensor::new(&[0.4f32, 0.4, 0.4, 2.0, 2.0, 2.0], &Device::Cpu)?;
        let clear = Tensor::new(&[[1f32, 0.2, -1.0, 3.0, 1.0, -3.0]], &Device::Cpu)?;
        check_gradient("jump over thresholds", &clear, |x| jump(x, &thresholds));
        check_gradient("top-k of few positive", &clear.neg()?, |x| keep_top_k(x, 5));
        let spread = Tensor::new(&[[5f32, 1.0, 4.0, 0.5, 3.0, 2.0]], &Device::Cpu)?;
        check_gradient("top-k", &spread, |x| keep_top_k(x, 3));
    }
    Ok(())
}

#[test]
fn slices_are_those_python_prints() {
    // `[list(range(7)[slice]) for ...]`, by CPython.
    for (start, stop, step, kept) in [
        (None, None, -1, vec![6, 5, 4, 3, 2, 1, 0]),
        (Some(-3), None, 1, vec![4, 5, 6]),
        (Some(-9), Some(2), 1, vec![0, 1]),
        (Some(9), Some(-9), -3, vec![6, 3, 0]),
        (Some(5), Some(1), -2, vec![5, 3]),
        (Some(2), Some(-1), 2, vec![2, 4]),
        (Some(4), Some(2), 1, vec![]),
        (None, Some(-8), -1, vec![6, 5, 4, 3, 2, 1, 0]),
    ] {
        let slice = PosSlice::Range { start, stop, step: Some(step) };
        assert_eq!(slice.positions(7).unwrap(), kept, "{slice:?}");
        assert_eq!(python_slice(7, start, stop, step), kept, "the oracle on {slice:?}");
    }
}

#[test]
fn operands_that_do_not_fit_are_refused_not_cut() -> Result<()> {
    let (x, w) = (inputs(3, 6), inputs(6, 5));
    let vector = |n| inputs(1, n).squeeze(0);
    let (right, short) = (vector(5)?, vector(4)?);
    let refused = |what: &str, result: Result<()>| {
        assert!(matches!(result, Err(Error::InputShape { .. })), "{what}: {result:?}");
    };
    refused("bias", linear(&x, &w, Some(&short)).map(drop));
    refused("thresholds", jump(&x, &right).map(drop));
    let (gain, bias) = (vector(6)?, vector(7)?);
    refused("norm", normalize(&x, Centre::Mean, 1e-5, Some((&gain, Some(&bias)))).map(drop));
    refused("above", encode_above(&x, &w, &right, Some(&short)).map(drop));
    refused("gated", encode_gated(&x, &w, &right, &short, &right).map(drop));
    refused("top-k", encode_top_k(&x, &w, &short, None, 2).map(drop));
    Ok(())
}
