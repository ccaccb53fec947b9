//! SAEs of every architecture with random weights, for the other tests.

use std::borrow::Cow;

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use sae_core::arch::{WeightSource, build};
use sae_core::hook::HookName;
use sae_core::sae::{Architecture, BatchTopK, MatchingPursuit, Sae, SaeSpec, Temporal, Transcoder};
use sae_core::testing::Tolerance;
use sae_core::{Error, Result};

/// The hook that the SAEs here belong to.
pub(crate) const AT: HookName = HookName::resid_pre(1);
/// The hook that the transcoders here write.
pub(crate) const AFTER: HookName = HookName::resid_post(1);

/// Random weights on request; thresholds and biases near zero.
#[derive(Default)]
struct Random(HashMap<String, Tensor>);

impl WeightSource for Random {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = match name {
            "threshold" => Tensor::rand(0f32, 0.3, shape, &Device::Cpu)?,
            _ if shape.len() == 1 => Tensor::randn(0f32, 0.1, shape, &Device::Cpu)?,
            _ => Tensor::randn(0f32, 0.4, shape, &Device::Cpu)?,
        };
        Ok(self.0.entry(name.to_owned()).or_insert(tensor).clone())
    }

    fn take_if_there(&mut self, _: &str, _: &[usize]) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// An SAE as `spec` says.
pub(crate) fn random(spec: SaeSpec) -> Box<dyn Sae> {
    build(spec, &mut Random::default()).unwrap()
}

/// Specs of every architecture.
pub(crate) fn specs(d_in: usize, d_sae: usize) -> Vec<SaeSpec> {
    let topk =
        |rescale_acts_by_decoder_norm| Architecture::TopK { k: 4, rescale_acts_by_decoder_norm };
    [
        Architecture::Standard { tanh: false },
        Architecture::Standard { tanh: true },
        Architecture::Gated,
        topk(false),
        topk(true),
        Architecture::AbsTopK { k: 4, rescale_acts_by_decoder_norm: false },
        Architecture::AbsTopK { k: 4, rescale_acts_by_decoder_norm: true },
        Architecture::JumpRelu,
    ]
    .into_iter()
    .map(|architecture| SaeSpec::new(architecture, d_in, d_sae).at(AT))
    .collect()
}

/// Specs of every architecture there is: those of [`specs`], SAEs under training, transcoders that
/// read [`AT`] and write [`AFTER`], and those whose latents follow one another.
pub(crate) fn every_spec(d_in: usize, d_sae: usize) -> Vec<SaeSpec> {
    let batch = |rescale_acts_by_decoder_norm, matryoshka_widths| {
        let k = 2.5;
        let batch = BatchTopK { k, rescale_acts_by_decoder_norm, matryoshka_widths };
        Architecture::BatchTopK(batch)
    };
    let pursuit = MatchingPursuit {
        residual_threshold: 0.05,
        max_iterations: Some(3),
        stop_on_duplicate_support: true,
    };
    let mut all = specs(d_in, d_sae);
    for architecture in [
        batch(false, Vec::new()),
        batch(true, vec![d_sae / 2, d_sae]),
        Architecture::MatchingPursuit(pursuit),
        temporal(d_sae, None, true),
        temporal(d_sae, Some(3), false),
    ] {
        all.push(SaeSpec::new(architecture, d_in, d_sae).at(AT));
    }
    for architecture in [Architecture::Standard { tanh: false }, Architecture::JumpRelu] {
        for skip in [false, true] {
            all.push(transcoder(architecture.clone(), (d_in, d_sae, d_in), skip));
        }
    }
    all
}

fn temporal(d_sae: usize, kval_topk: Option<usize>, tied_weights: bool) -> Architecture {
    let n_heads = if d_sae.is_multiple_of(4) { 2 } else { 1 };
    Architecture::Temporal(Temporal {
        n_heads,
        n_attn_layers: 2,
        bottleneck_factor: n_heads,
        top_k: kval_topk.is_some(),
        kval_topk,
        tied_weights,
        activation_normalization_factor: 0.5,
    })
}

/// A transcoder that reads [`AT`] and writes [`AFTER`].
pub(crate) fn transcoder(
    architecture: Architecture,
    (d_in, d_sae, d_out): (usize, usize, usize),
    skip: bool,
) -> SaeSpec {
    let mut spec = SaeSpec::new(architecture, d_in, d_sae).at(AT);
    spec.metadata.insert("hook_name_out".to_owned(), AFTER.to_string().into());
    SaeSpec {
        apply_b_dec_to_input: false,
        transcoder: Some(Transcoder { d_out, skip }),
        hook_out: Some(AFTER),
        ..spec
    }
}

/// Inputs that an SAE of this kind can read: `[rows, d_in]`, or `[1, rows, d_in]`.
pub(crate) fn inputs_for(spec: &SaeSpec, rows: usize) -> Tensor {
    let x = inputs(rows, spec.d_in);
    match spec.architecture {
        Architecture::Temporal(_) => x.unsqueeze(0).unwrap(),
        _ => x,
    }
}

/// Inputs, `[rows, d_in]`.
pub(crate) fn inputs(rows: usize, d_in: usize) -> Tensor {
    Tensor::randn(0f32, 1.0, (rows, d_in), &Device::Cpu).unwrap()
}

/// Weights that were made elsewhere.
pub(crate) struct Given(pub(crate) Vec<(Cow<'static, str>, Tensor)>);

impl WeightSource for Given {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.take_if_there(name, shape)?.ok_or_else(|| Error::MissingTensor {
            path: "given".into(),
            name: name.to_owned(),
            want: shape.to_vec(),
        })
    }

    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        let found = self.0.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor.clone());
        assert!(found.as_ref().is_none_or(|t| t.dims() == shape), "{name}");
        Ok(found)
    }
}

#[test]
fn a_few_latents_alone_do_what_they_do_among_all() -> Result<()> {
    let features = [3usize, 19, 0, 3];
    for spec in every_spec(6, 20) {
        let (x, name) = (inputs_for(&spec, 7), spec.architecture_name());
        let sae = random(spec);
        let (all, frame) = sae.encode(&x)?;
        let index = Tensor::new(&[3u32, 19, 0, 3], &Device::Cpu)?;
        let want = all.index_select(&index, all.rank() - 1)?;
        Tolerance::F32.check(&sae.encode_features(&x, &features)?, &want, name);
        let one = sae.encode_features(&x, &[7])?;
        Tolerance::F32.check(&one, &all.narrow(all.rank() - 1, 7, 1)?, name);
        let beyond = sae.encode_features(&x, &[0, 20]).err();
        assert!(matches!(beyond, Some(Error::FeatureOutOfRange { feature: 20, d_sae: 20 })));
        // An SAE of the few alone, where latents do not compete.
        let Some(few) = sae_core::arch::select(sae.as_ref(), &features)? else {
            assert!(!["standard", "gated", "jumprelu"].contains(&name), "{name}");
            continue;
        };
        Tolerance::F32.check(&few.encode(&x)?.0, &want, name);
        assert_eq!(few.reconstruct(&x)?.dims(), sae.decode(&all, &frame)?.dims());
    }
    Ok(())
}
