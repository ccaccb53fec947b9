//! SAEs of every architecture with random weights, for the other tests.

use std::borrow::Cow;

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use sae_core::arch::{WeightSource, build};
use sae_core::hook::HookName;
use sae_core::sae::{Architecture, Sae, SaeSpec};
use sae_core::{Error, Result};

/// The hook that the SAEs here belong to.
pub(crate) const AT: HookName = HookName::resid_pre(1);

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
fn a_few_latents_alone_do_what_they_do_among_all() -> sae_core::Result<()> {
    let x = inputs(7, 6);
    for spec in specs(6, 20) {
        let sae = random(spec);
        let features = [3usize, 19, 0];
        let Some(few) = sae_core::arch::select(sae.as_ref(), &features)? else {
            assert!(sae.spec().architecture_name().ends_with("topk"));
            continue;
        };
        let all = sae.encode(&x)?.0.to_vec2::<f32>()?;
        let some = few.encode(&x)?.0.to_vec2::<f32>()?;
        for (all, some) in all.iter().zip(&some) {
            for (i, feature) in features.iter().enumerate() {
                let (got, want) = (some[i], all[*feature]);
                assert!((got - want).abs() < 1e-5, "{got}, expected {want}");
            }
        }
        let beyond = sae_core::arch::select(sae.as_ref(), &[20]).err();
        assert!(matches!(beyond, Some(sae_core::Error::FeatureOutOfRange { feature: 20, .. })));
    }
    Ok(())
}
