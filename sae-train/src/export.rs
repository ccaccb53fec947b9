//! From trained weights to an SAE for inference, as SAELens saves it.

use candle_core::{DType, Device, Tensor};
use sae_core::arch::{WeightSource, build, to_inference};
use sae_core::sae::{Sae, SaeSpec};

use crate::Result;
use crate::checkpoint::TOPK_THRESHOLD;
use crate::params::Params;

/// The SAE for inference of these weights; `topk_threshold` is that of BatchTopK SAEs.
///
/// # Errors
/// The weights do not have the shape that the spec names.
pub(crate) fn to_sae(
    spec: SaeSpec,
    params: &Params,
    topk_threshold: Option<f64>,
) -> Result<Box<dyn Sae>> {
    let trained = build(spec, &mut Weights { params, topk_threshold })?;
    Ok(to_inference(trained.as_ref())?)
}

struct Weights<'a> {
    params: &'a Params,
    topk_threshold: Option<f64>,
}

impl WeightSource for Weights<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> sae_core::Result<Tensor> {
        let missing = || sae_core::Error::BadFile {
            path: "the trained weights".into(),
            problem: format!("no tensor `{name}`"),
        };
        self.take_if_there(name, shape)?.ok_or_else(missing)
    }

    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> sae_core::Result<Option<Tensor>> {
        if name == TOPK_THRESHOLD {
            let threshold = self.topk_threshold.map(|t| Tensor::new(t, &Device::Cpu));
            return Ok(threshold.transpose()?.map(|t| t.to_dtype(DType::F32)).transpose()?);
        }
        let found = self.params.tensors().find(|(n, _)| *n == name);
        if let (None, "threshold") = (found, name)
            && let Some((_, log)) = self.params.tensors().find(|(n, _)| *n == "log_threshold")
        {
            let threshold: Vec<f32> = log.iter().map(|t| t.exp()).collect();
            return tensor(name, &threshold, shape).map(Some);
        }
        found.map(|(_, v)| tensor(name, v, shape)).transpose()
    }
}

/// Values in training's layout as a tensor in SAELens' shape.
pub(crate) fn tensor(name: &str, values: &[f32], shape: &[usize]) -> sae_core::Result<Tensor> {
    let flat = Tensor::new(values, &Device::Cpu)?;
    if let ("W_enc", [d_in, d_sae]) = (name, shape) {
        return Ok(flat.reshape((*d_sae, *d_in))?.t()?.contiguous()?);
    }
    Ok(flat.reshape(shape)?)
}
