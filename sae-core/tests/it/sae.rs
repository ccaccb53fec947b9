//! SAEs of every architecture: contract, normalisation, heads, folds, files.

use candle_core::Tensor;
use sae_core::arch::build;
use sae_core::io::Folder;
use sae_core::sae::{Architecture, Normalize, Reshape, SaeSpec, Whitening};
use sae_core::sae_lens::{LoadOptions, load, save};
use sae_core::testing::{SplitSae, Tolerance, check_sae};
use sae_core::{Error, Result};

use crate::saes::{AT, Given, every_spec, inputs, inputs_for, random, specs, transcoder};

/// Every architecture in every mode that it can have.
fn all_modes() -> Vec<SaeSpec> {
    let mut all = Vec::new();
    for spec in every_spec(12, 40) {
        for normalize_activations in Normalize::ALL {
            for apply_b_dec_to_input in [true, false] {
                let no_bias = spec.transcoder.is_some() && apply_b_dec_to_input;
                if normalize_activations.fits(&spec.architecture) && !no_bias {
                    all.push(SaeSpec {
                        normalize_activations,
                        apply_b_dec_to_input,
                        ..spec.clone()
                    });
                }
            }
        }
    }
    all
}

#[test]
fn every_architecture_keeps_the_contract() -> Result<()> {
    check_sae(&SplitSae::new(12, AT)?, &inputs(5, 12))?;
    for spec in all_modes() {
        let x = inputs_for(&spec, 9);
        check_sae(random(spec).as_ref(), &x)?;
    }
    for skip in [false, true] {
        let spec = transcoder(Architecture::JumpRelu, (12, 40, 7), skip);
        let sae = random(spec);
        check_sae(sae.as_ref(), &inputs(9, 12))?;
        assert_eq!(sae.reconstruct(&inputs(9, 12))?.dims(), [9, 7]);
    }
    Ok(())
}

#[test]
fn a_normalisation_that_an_architecture_cannot_have_is_an_error() {
    for spec in every_spec(6, 20) {
        let weights = random(spec.clone()).tensors();
        for normalize_activations in Normalize::ALL {
            let spec = SaeSpec { normalize_activations, ..spec.clone() };
            let temporal = matches!(spec.architecture, Architecture::Temporal(_));
            let fits = match normalize_activations {
                Normalize::ConstantScalarRescale => temporal,
                Normalize::CovarianceWhitening => !temporal,
                _ => true,
            };
            let built = build(spec, &mut Given(weights.clone()));
            assert_eq!(built.is_ok(), fits);
            let error = built.err();
            assert!(matches!(error, None | Some(Error::NormalizeMisfit { .. })));
        }
    }
}

#[test]
fn heads_are_flattened_and_given_back() -> Result<()> {
    for spec in every_spec(12, 40) {
        let sae = random(SaeSpec { reshape_activations: Reshape::HookZ, ..spec });
        let x = inputs(6, 12).reshape((2, 3, 4, 3))?;
        let out = sae.reconstruct(&x)?;
        assert_eq!(out.dims(), [2, 3, 4, 3]);
        let flat = sae.reconstruct(&x.reshape((2, 3, 12))?)?;
        Tolerance::F32.check(&out.reshape((2, 3, 12))?, &flat, "flat");
        let (codes, frame) = sae.encode_sparse(&x)?;
        Tolerance::F32.check(&sae.decode_sparse(&codes, &frame)?, &out, "sparse");
    }
    Ok(())
}

/// What the fold did, `None` when the architecture does not admit it.
fn folded(result: Result<()>) -> Option<()> {
    match result {
        Ok(()) => Some(()),
        Err(Error::NotFoldable { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn folding_decoder_norms_keeps_outputs() -> Result<()> {
    for spec in all_modes() {
        let (x, what) = (inputs_for(&spec, 7), format!("{:?}", spec.architecture));
        let mut sae = random(spec);
        let before = sae.reconstruct(&x)?;
        if folded(sae.fold_w_dec_norm()).is_some() {
            Tolerance::F32.check(&sae.reconstruct(&x)?, &before, &what);
            let norms = sae.decoder().sqr()?.sum(1)?.sqrt()?;
            Tolerance::F32.check(&norms, &norms.ones_like()?, "unit rows");
        }
    }
    Ok(())
}

/// What the trainer fed the SAE is none of the run-time normalisations.
fn trained_outside() -> impl Iterator<Item = SaeSpec> {
    all_modes().into_iter().filter(|spec| spec.normalize_activations == Normalize::None)
}

#[test]
fn folding_the_scale_keeps_outputs_on_raw_input() -> Result<()> {
    for spec in trained_outside() {
        let (x, what) = (inputs_for(&spec, 7), format!("{:?}", spec.architecture));
        let mut sae = random(spec);
        let (acts, frame) = sae.encode(&(&x * 0.4)?)?;
        let scaled = (sae.decode(&acts, &frame)? / 0.4)?;
        match folded(sae.fold_activation_norm_scaling_factor(0.4)) {
            Some(()) => Tolerance::F32.check(&sae.reconstruct(&x)?, &scaled, &what),
            None => assert!(what.starts_with("Temporal"), "{what}"),
        }
    }
    Ok(())
}

/// A whitening of width 12: shear, then stretch.
fn whitening() -> Result<Whitening> {
    let device = candle_core::Device::Cpu;
    let corner = |sign: f64| {
        let value =
            |i: usize| if i / 12 < 6 && i % 12 >= 6 { sign * (i as f64).sin() } else { 0.0 };
        Tensor::from_vec((0..144).map(value).collect::<Vec<_>>(), (12, 12), &device)
    };
    let eye = Tensor::eye(12, candle_core::DType::F64, &device)?;
    // The corner block squares to zero, so that the inverse of I + C is I - C.
    let (shear, back) = ((&eye + corner(1.0)?)?, (&eye + corner(-1.0)?)?);
    let stretch: Vec<f64> = (0..12).map(|i| 0.5 + f64::from(i) / 12.0).collect();
    let stretch = Tensor::from_vec(stretch, 12, &device)?;
    let mean = Tensor::from_vec((0..12).map(|i| f64::from(i).cos()).collect(), 12, &device)?;
    let matrix = shear.broadcast_mul(&stretch)?;
    Whitening::new(&mean, &matrix, &back.broadcast_div(&stretch.unsqueeze(1)?)?)
}

#[test]
fn folding_the_whitening_keeps_outputs_on_raw_input() -> Result<()> {
    let whitening = whitening()?;
    let mut refused = Vec::new();
    for spec in trained_outside() {
        let (x, what) = (inputs_for(&spec, 7), spec.architecture_name());
        let mut sae = random(spec);
        let (acts, frame) = sae.encode(&whitening.apply(&x)?)?;
        let before = whitening.undo(&sae.decode(&acts, &frame)?)?;
        match folded(sae.fold_activation_whitening(&whitening)) {
            Some(()) => {
                Tolerance::Grad.check(&sae.encode(&x)?.0, &acts, what);
                Tolerance::Grad.check(&sae.reconstruct(&x)?, &before, what);
            }
            None => refused.push(what),
        }
    }
    refused.dedup();
    let skip = ["skip_transcoder", "jumprelu_skip_transcoder"];
    assert_eq!(refused, [&["matching_pursuit", "temporal"], &skip[..]].concat());
    let mut narrow = random(SaeSpec::new(Architecture::Gated, 6, 20));
    let error = narrow.fold_activation_whitening(&whitening);
    assert!(matches!(error, Err(Error::WrongWidth { want: 6, .. })));
    let mut odd = random(transcoder(Architecture::JumpRelu, (12, 40, 7), false));
    assert_eq!(folded(odd.fold_activation_whitening(&whitening)), None);
    Ok(())
}

#[test]
fn topk_without_rescaling_refuses_the_fold() {
    let architecture = Architecture::TopK { k: 3, rescale_acts_by_decoder_norm: false };
    let mut sae = random(SaeSpec::new(architecture, 6, 12));
    let message = sae.fold_w_dec_norm().unwrap_err().to_string();
    assert!(message.contains("would change which latents are chosen"), "{message}");
}

#[test]
fn saving_and_loading_is_the_identity() -> Result<()> {
    for spec in all_modes() {
        if !spec.is_for_inference() {
            continue;
        }
        let x = inputs_for(&spec, 5);
        let (sae, dir) = (random(spec), tempfile::tempdir().unwrap());
        let sparsity = Tensor::randn(-3f32, 1.0, 40, &candle_core::Device::Cpu)?;
        save(dir.path(), sae.as_ref(), Some(&sparsity))?;
        let back = load(&Folder::disk(dir.path()), LoadOptions::default())?;
        assert_eq!(back.report.unused, [""; 0]);
        let (got, want) = (back.sae.spec(), sae.spec());
        assert_eq!(got.architecture, want.architecture);
        assert_eq!((got.hook, got.hook_out), (want.hook, want.hook_out));
        assert_eq!(got.transcoder, want.transcoder);
        Tolerance::Bits.check(back.log_sparsity.as_ref().unwrap(), &sparsity, "sparsity");
        Tolerance::Bits.check(&back.sae.reconstruct(&x)?, &sae.reconstruct(&x)?, "outputs");
        let names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names.len(), 3, "no temporary file is left: {names:?}");
    }
    Ok(())
}

#[test]
fn a_synthetic_code_decodes_without_a_frame() -> Result<()> {
    let sae = random(specs(12, 40).remove(0));
    let one_hot = sae_core::sae::Codes::new(40, vec![0, 1], vec![3], vec![2.0])?;
    let got = sae.decode_sparse(&one_hot, &sae_core::sae::Frame::default())?;
    let zero = sae_core::sae::Codes::new(40, vec![0, 0], vec![], vec![])?;
    let bias = sae.decode_sparse(&zero, &sae_core::sae::Frame::default())?;
    Tolerance::F32.check(&(got - bias)?, &(sae.decoder().narrow(0, 3, 1)? * 2.0)?, "2 W_dec[3]");
    Ok(())
}

#[test]
fn every_architecture_keeps_the_contract_on_flattened_heads() -> Result<()> {
    for spec in all_modes() {
        let (spec, x) =
            (SaeSpec { reshape_activations: Reshape::HookZ, ..spec.clone() }, inputs_for(&spec, 9));
        let sae = random(spec);
        check_sae(sae.as_ref(), &x)?;
        let odd = inputs(6, 10).reshape((2, 3, 2, 5))?;
        assert!(matches!(sae.encode(&odd), Err(Error::WrongWidth { want: 12, .. })), "2 x 5 heads");
    }
    Ok(())
}

#[test]
fn tanh_latents_are_the_tanh_of_relu() -> Result<()> {
    let spec = |tanh| SaeSpec::new(Architecture::Standard { tanh }, 6, 12);
    let weights = random(spec(false)).tensors();
    let with = |tanh| build(spec(tanh), &mut Given(weights.clone()));
    let x = inputs(5, 6);
    let (relu, _) = with(false)?.encode(&x)?;
    let (tanh, _) = with(true)?.encode(&x)?;
    Tolerance::F32.check(&tanh, &relu.tanh()?, "tanh(relu)");
    assert!(relu.max_all()?.to_scalar::<f32>()? > 0.0, "some latent must be on");
    Ok(())
}

#[test]
fn a_finetuned_scale_acts_inside_decode_only_and_is_folded_when_saved() -> Result<()> {
    let spec = SaeSpec::new(Architecture::Standard { tanh: false }, 6, 12);
    let mut weights = random(spec.clone()).tensors();
    let x = inputs(5, 6);
    let plain = build(spec.clone(), &mut Given(weights.clone()))?;
    let scale = (Tensor::rand(0f32, 1.0, 12, x.device())? + 0.5)?;
    weights.push(("finetuning_scaling_factor".into(), scale.clone()));
    let finetuned = build(spec, &mut Given(weights))?;
    let (acts, frame) = finetuned.encode(&x)?;
    Tolerance::Bits.check(&acts, &plain.encode(&x)?.0, "latents are not scaled");
    let want = plain.decode(&acts.broadcast_mul(&scale)?, &frame)?;
    Tolerance::F32.check(&finetuned.decode(&acts, &frame)?, &want, "scaled in decode");
    check_sae(finetuned.as_ref(), &x)?;
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), finetuned.as_ref(), None)?;
    let back = load(&Folder::disk(dir.path()), LoadOptions::default())?;
    assert_eq!(back.report.unused, [""; 0]);
    Tolerance::F32.check(&back.sae.reconstruct(&x)?, &want, "saved and loaded");
    Ok(())
}

#[test]
fn nan_in_the_input_is_seen_in_latents_and_output() -> Result<()> {
    for spec in every_spec(6, 20) {
        let temporal = matches!(spec.architecture, Architecture::Temporal(_));
        let sae = random(spec);
        let name = sae.spec().architecture_name();
        let bad = Tensor::full(f32::NAN, (1, 6), &candle_core::Device::Cpu)?;
        let x = Tensor::cat(&[&inputs(1, 6), &bad], 0)?;
        let x = if temporal { x.unsqueeze(0)? } else { x };
        let (codes, frame) = sae.encode_sparse(&x)?;
        for out in [sae.reconstruct(&x)?, sae.decode_sparse(&codes, &frame)?] {
            let out = out.reshape((2, 6))?.to_vec2::<f32>()?;
            assert!(out[0].iter().all(|v| v.is_finite()), "{name}: the other row is untouched");
            assert!(out[1].iter().all(|v| v.is_nan()), "{name}: {:?}", out[1]);
        }
    }
    Ok(())
}

#[test]
fn a_decoder_row_of_zeros_does_no_harm() -> Result<()> {
    let architecture = Architecture::TopK { k: 3, rescale_acts_by_decoder_norm: true };
    let spec = SaeSpec::new(architecture, 6, 12);
    let mut weights = random(spec.clone()).tensors();
    for (name, tensor) in &mut weights {
        if name == "W_dec" {
            let zero = Tensor::zeros((1, 6), tensor.dtype(), tensor.device())?;
            *tensor = Tensor::cat(&[&zero, &tensor.narrow(0, 1, 11)?], 0)?;
        }
    }
    check_sae(build(spec, &mut Given(weights))?.as_ref(), &inputs(5, 6))
}

#[test]
fn building_without_a_tensor_names_it() {
    for spec in every_spec(6, 12) {
        let all = random(spec.clone()).tensors();
        for (missing, _) in &all {
            let rest = all.iter().filter(|(name, _)| name != missing).cloned().collect();
            let error = build(spec.clone(), &mut Given(rest)).err().map(|e| e.to_string());
            assert!(
                error.is_some_and(|e| e.contains(&format!("no tensor `{missing}`"))),
                "{missing}"
            );
        }
    }
}
