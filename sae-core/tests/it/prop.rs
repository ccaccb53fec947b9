//! Properties, on random input.

use candle_core::{Device, Tensor, Var};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy as _;
use sae_core::Result;
use sae_core::hook::{HookName, PosSlice};
use sae_core::ops::{
    Activation, Centre, activate, jump, keep_top_k, linear, normalize, relu, softmax, top_k_row,
};
use sae_core::sae::Codes;
use sae_core::testing::Tolerance;

use crate::saes::{inputs, random, specs};

/// Python's `range(n)[start:stop:step]`, by definition.
fn python_slice(n: isize, start: Option<isize>, stop: Option<isize>, step: isize) -> Vec<u32> {
    let clamp =
        |i: isize, low: isize, high: isize| (if i < 0 { i + n } else { i }).clamp(low, high);
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let mut at = start.map_or(if step > 0 { 0 } else { n - 1 }, |i| clamp(i, low, high));
    let end = stop.map_or(if step > 0 { n } else { -1 }, |i| clamp(i, low, high));
    let mut kept = Vec::new();
    while (step > 0 && at < end) || (step < 0 && at > end) {
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
    fn sparse_equals_dense_on_any_shape(rows in 1usize..70, d_in in 1usize..20, d_sae in 4usize..90) {
        for spec in specs(d_in, d_sae) {
            let sae = random(spec);
            let x = inputs(rows, d_in);
            let (acts, frame) = sae.encode(&x).unwrap();
            let (codes, _) = sae.encode_sparse(&x).unwrap();
            Tolerance::F32.check(&codes.to_dense().unwrap(), &acts, "latents");
            let dense = sae.decode(&acts, &frame).unwrap();
            Tolerance::F32.check(&sae.decode_sparse(&codes, &frame).unwrap(), &dense, "outputs");
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
        let grad = grads.get(var.as_tensor()).cloned().ok_or(sae_core::Error::NoLogits)?;
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
    let gain = inputs(1, 6).squeeze(0)?;
    let bias = inputs(1, 6).squeeze(0)?;
    for _ in 0..8 {
        // Away from kinks, where differences across them would be no gradient.
        let x = inputs(4, 6);
        let away = (&x + (x.sign()? * 0.1)?)?;
        check_gradient("linear", &x, |x| linear(x, &w, None));
        check_gradient("gelu", &x, |x| activate(x, Activation::GeluTanh));
        check_gradient("relu", &away, relu);
        check_gradient("softmax", &x, softmax);
        for centre in [Centre::Mean, Centre::Zero] {
            check_gradient("norm", &x, |x| normalize(x, centre, 1e-5, Some((&gain, &bias))));
        }
        let zero = Tensor::zeros(6, candle_core::DType::F32, &Device::Cpu)?;
        check_gradient("jump", &away, |x| jump(x, &zero));
        let spread = Tensor::new(&[[5f32, 1.0, 4.0, 0.5, 3.0, 2.0]], &Device::Cpu)?;
        check_gradient("top-k", &spread, |x| keep_top_k(x, 3));
    }
    Ok(())
}
