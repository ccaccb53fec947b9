//! `eval-metrics`: SAELens' evaluation metrics on given activations and logits.

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use sae_analysis::downstream::{Downstream, Predictions};
use sae_analysis::reconstruction::Reconstruction;
use sae_analysis::sparsity::Sparsity;
use sae_analysis::weights::WeightMetrics;
use sae_core::sae::Codes;

use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    match case.params["op"].as_str() {
        Some("sparsity_variance") => sparsity_variance(case),
        Some("downstream") => downstream(case),
        Some("weights") => weights(case),
        other => bail!("op {other:?} is not built"),
    }
}

fn ignored(case: &Case) -> Result<Vec<u32>> {
    Ok(case.param("ignore_tokens").map_or(Ok(Vec::new()), |v| serde_json::from_value(v.clone()))?)
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

fn sparsity_variance(case: &Case) -> Result<Outputs> {
    let ignored = ignored(case)?;
    let (x, x_hat, acts) = (case.input("x")?, case.input("x_hat")?, case.input("acts")?);
    let tokens = case.tokens("tokens")?;
    let (n, _, length, width) = x.dims4()?;
    let d_sae = acts.dim(3)?;
    let (mut reconstruction, mut sparsity) = (Reconstruction::default(), Sparsity::new(d_sae));
    for i in 0..n {
        let ids = tokens.get(i)?.flatten_all()?.to_vec1::<u32>()?;
        let kept: Vec<usize> = (0..ids.len()).filter(|t| !ignored.contains(&ids[*t])).collect();
        let rows = |tensor: &Tensor, width: usize| -> Result<Vec<f32>> {
            let all = flat(&tensor.get(i)?)?;
            Ok(kept.iter().flat_map(|t| all[t * width..][..width].to_vec()).collect())
        };
        reconstruction.add(&rows(&x, width)?, &rows(&x_hat, width)?, width);
        let dense = Tensor::from_vec(rows(&acts, d_sae)?, (kept.len(), d_sae), &Device::Cpu)?;
        let prompts: Vec<usize> = kept.iter().map(|t| t / length).collect();
        sparsity.add(&Codes::from_dense(&dense)?, &prompts);
    }
    let (r, s) = (reconstruction.finish(), sparsity.finish());
    let mut out = Outputs::default();
    for (name, value) in [
        ("l2_norm_in", r.l2_norm_in),
        ("l2_norm_out", r.l2_norm_out),
        ("l2_ratio", r.l2_ratio),
        ("relative_reconstruction_bias", r.relative_reconstruction_bias),
        ("l0", s.l0),
        ("l1", s.l1),
        ("explained_variance_legacy", r.explained_variance_legacy),
        ("mse", r.mse),
        ("cossim", r.cossim),
        ("explained_variance", r.explained_variance),
    ] {
        out.put(name, Tensor::new(&[value], &Device::Cpu)?);
    }
    features(&mut out, "", &sparsity)?;
    Ok(out)
}

/// Density and consistent activation heuristic of every feature.
pub(super) fn features(out: &mut Outputs, prefix: &str, sparsity: &Sparsity) -> Result<()> {
    for (name, values) in [
        ("feature_density", sparsity.density()),
        ("consistent_activation_heuristic", sparsity.consistent_activation_heuristic()),
    ] {
        out.put(format!("{prefix}{name}"), Tensor::new(values.as_slice(), &Device::Cpu)?);
    }
    Ok(())
}

fn downstream(case: &Case) -> Result<Outputs> {
    let ignored = ignored(case)?;
    let names = ["logits_original", "logits_sae", "logits_ablated"];
    let logits: Vec<Tensor> = names.iter().map(|name| case.input(name)).collect::<Result<_>>()?;
    let tokens = case.tokens("tokens")?;
    let (n, prompts, _) = tokens.dims3()?;
    let mut sums = Downstream::default();
    for i in 0..n {
        for p in 0..prompts {
            let ids = tokens.get(i)?.get(p)?.to_vec1::<u32>()?;
            let kept: Vec<bool> = ids.iter().map(|t| !ignored.contains(t)).collect();
            let of = |tensor: &Tensor| -> Result<Vec<f32>> { flat(&tensor.get(i)?.get(p)?) };
            let (plain, sae, ablated) = (of(&logits[0])?, of(&logits[1])?, of(&logits[2])?);
            let (plain, sae, ablated) = (&plain[..], &sae[..], &ablated[..]);
            sums.add(Predictions { plain, sae, ablated }, &ids, &kept);
        }
    }
    let (p, b) = (sums.performance(), sums.behavior());
    let mut out = Outputs::default();
    for (name, value) in [
        ("ce_loss_without_sae", p.ce_loss_without_sae),
        ("ce_loss_with_sae", p.ce_loss_with_sae),
        ("ce_loss_with_ablation", p.ce_loss_with_ablation),
        ("ce_loss_score", p.ce_loss_score),
        ("kl_div_with_sae", b.kl_div_with_sae),
        ("kl_div_with_ablation", b.kl_div_with_ablation),
        ("kl_div_score", b.kl_div_score),
    ] {
        out.put(name, Tensor::new(&[value], &Device::Cpu)?);
    }
    Ok(out)
}

fn weights(case: &Case) -> Result<Outputs> {
    let bias = case.maybe_input("b_enc")?;
    let found = WeightMetrics::new(&case.input("W_enc")?, &case.input("W_dec")?, bias.as_ref())?;
    let mut out = Outputs::default();
    put_weights(&mut out, "", found);
    Ok(out)
}

pub(super) fn put_weights(out: &mut Outputs, prefix: &str, found: WeightMetrics) {
    out.put(format!("{prefix}encoder_norm"), found.encoder_norm);
    out.put(format!("{prefix}encoder_decoder_cosine_sim"), found.encoder_decoder_cosine_sim);
    if let Some(bias) = found.encoder_bias {
        out.put(format!("{prefix}encoder_bias"), bias);
    }
}
