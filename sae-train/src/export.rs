//! From trained weights to an SAE for inference, as SAELens saves it.

use candle_core::{Device, Tensor};
use sae_core::arch::{WeightSource, build};
use sae_core::sae::{Architecture, Sae, SaeSpec};

use crate::Result;
use crate::params::Params;

/// The SAE of these weights. For TopK SAEs that rescale by decoder norms the norms are folded, as
/// SAELens does on saving.
///
/// # Errors
/// The weights do not have the shape that the spec names.
pub(crate) fn to_sae(spec: SaeSpec, params: &Params) -> Result<Box<dyn Sae>> {
    let rescales =
        matches!(spec.architecture, Architecture::TopK { rescale_acts_by_decoder_norm: true, .. });
    let mut sae = build(spec, &mut Weights(params))?;
    if rescales {
        sae.fold_w_dec_norm()?;
    }
    Ok(sae)
}

struct Weights<'a>(&'a Params);

impl WeightSource for Weights<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> sae_core::Result<Tensor> {
        let missing = || sae_core::Error::BadFile {
            path: "the trained weights".into(),
            problem: format!("no tensor `{name}`"),
        };
        self.take_if_there(name, shape)?.ok_or_else(missing)
    }

    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> sae_core::Result<Option<Tensor>> {
        let found = self.0.tensors().find(|(n, _)| *n == name);
        if let (None, "threshold") = (found, name)
            && let Some((_, log)) = self.0.tensors().find(|(n, _)| *n == "log_threshold")
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
