//! `evaluate`: SAELens' `run_evals`, every metric under its name.

use candle_core::{DType, Device, Tensor};
use sae_core::hook::{HookName, Intervene, Plan};
use sae_core::model::{Batch, HookedModel};
use sae_core::sae::Sae;
use sae_core::{Error, Result};
use serde::Serialize;

use crate::downstream::{Behavior, Downstream, Performance, Predictions};
use crate::point::Point;
use crate::reconstruction::Reconstruction;
use crate::sparsity::{Sparsity, SparsityMetrics};

/// The data to evaluate on: batches of prompts of equal length.
#[derive(Clone, Copy, Debug)]
pub struct EvalData<'a> {
    /// For the model's predictions.
    pub reconstruction: &'a [Vec<Vec<u32>>],
    /// For activations alone.
    pub sparsity_variance: &'a [Vec<Vec<u32>>],
    /// Tokens at which the SAE is bypassed, and which no mean counts.
    pub exclude: &'a [u32],
}

/// How close the reconstruction is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quality {
    /// See [`crate::reconstruction::ReconstructionMetrics`].
    pub explained_variance: f64,
    /// The mean of each token's own.
    pub explained_variance_legacy: f64,
    /// Squared error.
    pub mse: f64,
    /// Cosine similarity.
    pub cossim: f64,
}

/// How much shorter the reconstruction is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shrinkage {
    /// Mean norm of activations.
    pub l2_norm_in: f64,
    /// Mean norm of reconstructions.
    pub l2_norm_out: f64,
    /// Mean of their ratio.
    pub l2_ratio: f64,
    /// See [`crate::reconstruction::ReconstructionMetrics`].
    pub relative_reconstruction_bias: f64,
}

/// How much was seen, excluded tokens included.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TokenStats {
    /// Tokens of predictions.
    pub total_tokens_eval_reconstruction: usize,
    /// Tokens of activations.
    pub total_tokens_eval_sparsity_variance: usize,
}

/// Every metric, in SAELens' groups.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Divergence of predictions.
    pub model_behavior_preservation: Behavior,
    /// Loss of predictions.
    pub model_performance_preservation: Performance,
    /// Closeness of reconstructions.
    pub reconstruction_quality: Quality,
    /// Length of reconstructions.
    pub shrinkage: Shrinkage,
    /// Active latents.
    pub sparsity: SparsityMetrics,
    /// Size of the data.
    pub token_stats: TokenStats,
    /// Counts per latent.
    #[serde(skip)]
    pub features: Sparsity,
}

/// Evaluate `sae` at its hook in `model`.
///
/// # Errors
/// An SAE that names no hook or does not fit the model, prompts that it cannot run, or no data.
pub fn evaluate(model: &dyn HookedModel, sae: &dyn Sae, data: EvalData<'_>) -> Result<Evaluation> {
    let point = Point::of(model, sae)?;
    let mut downstream = Downstream::default();
    for prompts in data.reconstruction {
        predictions(model, sae, point, prompts, data.exclude, &mut downstream)?;
    }
    let mut reconstruction = Reconstruction::default();
    let mut features = Sparsity::new(sae.spec().d_sae);
    for prompts in data.sparsity_variance {
        let (x, owners) = point.rows(model, prompts, data.exclude)?;
        if owners.is_empty() {
            continue;
        }
        let (codes, frame) = sae.encode_sparse(&x)?;
        let out = sae.decode_sparse(&codes, &frame)?;
        reconstruction.add(&flat(&x)?, &flat(&out)?, point.width);
        features.add(&codes, &owners);
    }
    let found = reconstruction.finish();
    let tokens = |batches: &[Vec<Vec<u32>>]| batches.iter().flatten().map(Vec::len).sum();
    if features.tokens() == 0 {
        return Err(Error::EmptyPrompt);
    }
    Ok(Evaluation {
        model_behavior_preservation: downstream.behavior(),
        model_performance_preservation: downstream.performance(),
        reconstruction_quality: Quality {
            explained_variance: found.explained_variance,
            explained_variance_legacy: found.explained_variance_legacy,
            mse: found.mse,
            cossim: found.cossim,
        },
        shrinkage: Shrinkage {
            l2_norm_in: found.l2_norm_in,
            l2_norm_out: found.l2_norm_out,
            l2_ratio: found.l2_ratio,
            relative_reconstruction_bias: found.relative_reconstruction_bias,
        },
        sparsity: features.finish(),
        token_stats: TokenStats {
            total_tokens_eval_reconstruction: tokens(data.reconstruction),
            total_tokens_eval_sparsity_variance: tokens(data.sparsity_variance),
        },
        features,
    })
}

/// The SAE, or nothing, in place of what it reads; excluded positions keep what they had under the SAE.
struct Stand<'a> {
    point: Point,
    /// `None` sets to zero.
    sae: Option<&'a dyn Sae>,
    /// `[batch, pos]`, 1 where the SAE stands in.
    kept: Tensor,
}

impl Intervene for Stand<'_> {
    fn apply(&self, act: Tensor, _: HookName) -> Result<Tensor> {
        let Some(sae) = self.sae else { return self.point.zero(&act) };
        let x = self.point.select(&act)?;
        let out = sae.reconstruct(&x)?;
        let (batch, pos) = self.kept.dims2()?;
        let mask = self.kept.reshape((batch, pos, 1))?.broadcast_as(x.shape())?;
        self.point.put(&act, &mask.where_cond(&out, &x)?)
    }
}

fn predictions(
    model: &dyn HookedModel,
    sae: &dyn Sae,
    point: Point,
    prompts: &[Vec<u32>],
    exclude: &[u32],
    sums: &mut Downstream,
) -> Result<()> {
    let batch = Batch::rows(prompts)?;
    let kept: Vec<Vec<bool>> =
        prompts.iter().map(|p| p.iter().map(|t| !exclude.contains(t)).collect()).collect();
    let mask: Vec<u8> = kept.iter().flatten().map(|k| u8::from(*k)).collect();
    let mask = Tensor::from_vec(mask, batch.ids().shape(), &Device::Cpu)?;
    let logits =
        |plan: Plan<'_>| -> Result<Vec<f32>> { flat(model.run(&batch, &plan)?.require_logits()?) };
    let stand = |sae| Stand { point, sae, kept: mask.clone() };
    let plain = logits(Plan::new())?;
    let with_sae = logits(Plan::new().intervene(point.hook, stand(Some(sae))))?;
    let ablated = logits(Plan::new().intervene(point.hook, stand(None)))?;
    let each = plain.len() / prompts.len().max(1);
    for (i, (tokens, kept)) in prompts.iter().zip(&kept).enumerate() {
        let of = i * each..(i + 1) * each;
        let (plain, sae, ablated) = (&plain[of.clone()], &with_sae[of.clone()], &ablated[of]);
        sums.add(Predictions { plain, sae, ablated }, tokens, kept);
    }
    Ok(())
}

pub(crate) fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}
