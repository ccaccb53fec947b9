//! From the checkpoint of a training run to the SAE that SAELens would save for inference.

use candle_core::Tensor;
use serde_json::Value;

use super::build::{InMemory, build};
use crate::Result;
use crate::sae::{Architecture, Sae};

/// The SAE as SAELens saves it for inference (`save_inference_model`). Where latents are rescaled by
/// decoder norms, these are folded in, and the flag stays: the norms are then 1. SAEs that keep the
/// largest latents of a batch become JumpReLU SAEs with the batch's threshold for every latent. Other
/// weights are the same.
///
/// # Errors
/// The tensor operation failed.
pub fn to_inference(sae: &dyn Sae) -> Result<Box<dyn Sae>> {
    let mut spec = sae.spec().clone();
    if spec.training {
        const TRAINED_AS: &str = "training_architecture";
        let trained_as = Value::from(spec.architecture_name());
        spec.metadata.entry(TRAINED_AS).or_insert(trained_as);
        spec.training = false;
    }
    let mut copy = build(spec.clone(), &mut InMemory(sae.tensors()))?;
    if spec.architecture.rescale_mut().is_some_and(|rescale| *rescale) {
        copy.fold_w_dec_norm()?;
    }
    if !matches!(spec.architecture, Architecture::BatchTopK(_)) {
        return Ok(copy);
    }
    spec.architecture = Architecture::JumpRelu;
    let mut tensors = copy.tensors();
    for (name, tensor) in tensors.iter_mut().filter(|(name, _)| name == "topk_threshold") {
        let threshold = tensor.to_scalar::<f32>()?;
        *name = "threshold".into();
        *tensor = Tensor::full(threshold, spec.d_sae, tensor.device())?;
    }
    build(spec, &mut InMemory(tensors))
}
