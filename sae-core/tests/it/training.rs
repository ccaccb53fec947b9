//! Checkpoints of training runs: what they encode, and what becomes of them for inference.

use candle_core::{Device, Tensor};
use sae_core::arch::{build, to_inference};
use sae_core::io::{Folder, write_atomic, write_tensors};
use sae_core::sae::{Architecture, BatchTopK, Sae, SaeSpec};
use sae_core::sae_lens::{LoadOptions, load, save};
use sae_core::testing::Tolerance;
use sae_core::{Error, Result};

use crate::saes::{Given, inputs, random};

const D_IN: usize = 6;
const D_SAE: usize = 20;

/// A checkpoint folder with these fields, and the weights of a random SAE with some exchanged.
fn checkpoint(
    fields: &str,
    spec: SaeSpec,
    exchange: &[(&'static str, Tensor)],
) -> Result<Box<dyn Sae>> {
    let dir = tempfile::tempdir().unwrap();
    let cfg = format!(
        r#"{{"d_in":{D_IN},"d_sae":{D_SAE},"decoder_init_norm":0.1,{fields},
            "metadata":{{"sae_lens_version":"6.54.12"}}}}"#
    );
    write_atomic(&dir.path().join("cfg.json"), cfg.as_bytes())?;
    let mut tensors = random(spec).tensors();
    tensors.retain(|(name, _)| !exchange.iter().any(|(n, _)| n.ends_with(name.as_ref())));
    tensors.extend(exchange.iter().map(|(name, tensor)| ((*name).into(), tensor.clone())));
    write_tensors(&dir.path().join("sae_weights.safetensors"), tensors)?;
    let loaded = load(&Folder::disk(dir.path()), LoadOptions::default())?;
    assert_eq!(loaded.report.unused, [""; 0]);
    assert!(loaded.sae.spec().training);
    Ok(loaded.sae)
}

fn spec(architecture: Architecture) -> SaeSpec {
    SaeSpec::new(architecture, D_IN, D_SAE)
}

fn batch(rescale_acts_by_decoder_norm: bool) -> Architecture {
    let matryoshka_widths = Vec::new();
    Architecture::BatchTopK(BatchTopK { k: 2.5, rescale_acts_by_decoder_norm, matryoshka_widths })
}

fn tensor(sae: &dyn Sae, name: &str) -> Tensor {
    sae.tensors().into_iter().find(|(n, _)| n == name).unwrap().1
}

#[test]
fn a_batch_keeps_its_largest_latents_and_inference_its_threshold() -> Result<()> {
    let threshold = Tensor::new(0.7f64, &Device::Cpu)?;
    let x = inputs(9, D_IN);
    for rescale in [true, false] {
        let fields = format!(
            r#""architecture":"batchtopk","k":2.5,"rescale_acts_by_decoder_norm":{rescale}"#
        );
        let exchange = [("topk_threshold", threshold.clone())];
        let sae = checkpoint(&fields, spec(batch(rescale)), &exchange)?;
        let (acts, _) = sae.encode(&x)?;
        let on = acts.ne(0f32)?.to_dtype(candle_core::DType::U32)?.sum_all()?.to_scalar::<u32>()?;
        assert_eq!(on, 22, "2.5 latents for each of 9 rows, rounded down");
        let inference = to_inference(sae.as_ref())?;
        assert_eq!(inference.spec().architecture, Architecture::JumpRelu);
        assert!(inference.spec().is_for_inference());
        assert_eq!(inference.spec().metadata["training_architecture"], "batchtopk");
        let thresholds = tensor(inference.as_ref(), "threshold").to_vec1::<f32>()?;
        assert_eq!(thresholds, [0.7f32; D_SAE]);
        // All pre-activations, as a batch that keeps everything gives them.
        let everything = Architecture::BatchTopK(BatchTopK {
            k: 20.0,
            rescale_acts_by_decoder_norm: rescale,
            matryoshka_widths: Vec::new(),
        });
        let positive = build(spec(everything), &mut Given(sae.tensors()))?.encode(&x)?.0;
        let above = positive.gt(0.7f32)?.to_dtype(candle_core::DType::F32)?;
        Tolerance::F32.check(&inference.encode(&x)?.0, &(positive * above)?, "above the threshold");
    }
    Ok(())
}

#[test]
fn saving_a_checkpoint_writes_the_sae_for_inference() -> Result<()> {
    let x = inputs(9, D_IN);
    let topk = Architecture::TopK { k: 3, rescale_acts_by_decoder_norm: true };
    for (fields, architecture) in [
        // (Without the flag, training rescales.)
        (r#""architecture":"topk","k":3"#, topk),
        (
            r#""architecture":"matryoshka_batchtopk","k":2.5,"matryoshka_widths":[5,20],
               "rescale_acts_by_decoder_norm":true"#,
            batch(true),
        ),
        (r#""architecture":"jumprelu""#, Architecture::JumpRelu),
        (r#""architecture":"gated""#, Architecture::Gated),
    ] {
        let sae = checkpoint(fields, spec(architecture), &[])?;
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), sae.as_ref(), None)?;
        let back = load(&Folder::disk(dir.path()), LoadOptions::default())?.sae;
        assert!(back.spec().is_for_inference());
        let want = to_inference(sae.as_ref())?;
        assert_eq!(back.spec().architecture, want.spec().architecture);
        Tolerance::Bits.check(&back.reconstruct(&x)?, &want.reconstruct(&x)?, fields);
        if let Architecture::TopK { rescale_acts_by_decoder_norm, .. } = back.spec().architecture {
            assert!(rescale_acts_by_decoder_norm, "the flag stays");
            Tolerance::F32.check(&back.reconstruct(&x)?, &sae.reconstruct(&x)?, "folded");
            let norms = back.decoder().sqr()?.sum(1)?.sqrt()?;
            Tolerance::F32.check(&norms, &norms.ones_like()?, "unit rows");
        }
    }
    Ok(())
}

#[test]
fn thresholds_come_from_their_logarithm_and_may_be_negative_in_training() -> Result<()> {
    let x = inputs(9, D_IN);
    let log = Tensor::randn(-1f32, 0.5, D_SAE, &Device::Cpu)?;
    let fields = r#""architecture":"jumprelu""#;
    let exchange = [("log_threshold", log.clone())];
    let sae = checkpoint(fields, spec(Architecture::JumpRelu), &exchange)?;
    Tolerance::F32.check(&tensor(sae.as_ref(), "threshold"), &log.exp()?, "exp");
    let below = Tensor::full(-0.5f32, D_SAE, &Device::Cpu)?;
    let sae = checkpoint(fields, spec(Architecture::JumpRelu), &[("threshold", below)])?;
    let training = sae.encode(&x)?.0;
    assert!(training.min_all()?.to_scalar::<f32>()? < 0.0, "negative latents pass");
    let codes = sae.encode_sparse(&x)?.0;
    Tolerance::F32.check(&codes.to_dense()?, &training, "sparse");
    let inference = to_inference(sae.as_ref())?.encode(&x)?.0;
    Tolerance::Bits.check(&inference, &training.relu()?, "inference has a ReLU");
    Ok(())
}

#[test]
fn fields_of_checkpoints_are_checked() {
    let message = |fields: &str| {
        let error = checkpoint(fields, spec(batch(true)), &[]).err();
        assert!(matches!(error, Some(Error::ConfigField { .. })), "{fields}: {error:?}");
        error.map(|e| e.to_string()).unwrap_or_default()
    };
    let batch = r#""architecture":"batchtopk""#;
    assert!(message(batch).contains("`k` is missing, expected a number above 0"));
    assert!(message(&format!(r#"{batch},"k":0"#)).contains("`k` is 0"));
    let nested = r#""architecture":"matryoshka_batchtopk","k":2"#;
    for widths in ["", r#","matryoshka_widths":[]"#, r#","matryoshka_widths":[5,4]"#] {
        assert!(message(&format!("{nested}{widths}")).contains("`matryoshka_widths`"), "{widths}");
    }
    let above = format!(r#"{nested},"matryoshka_widths":[5,21]"#);
    assert!(message(&above).contains("none above d_sae"));
}
