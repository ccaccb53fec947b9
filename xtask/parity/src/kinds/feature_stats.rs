//! `feature-stats`: one pass over prompts, and the shape that some features span.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use sae_analysis::FeatureStats;
use sae_analysis::pca::{Pca, pca, reconstructions};
use sae_analysis::stats::histogram;
use sae_core::model::{Batch, HookedModelExt};
use sae_core::sae::Sae;
use sae_models::Decoder;
use serde_json::{Map, Value};

use super::edits;
use crate::case::{Case, Outputs};

/// Components that the workshop's figure shows.
const COMPONENTS: usize = 3;

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?;
    let saes = edits::load_saes(case)?;
    let sae = saes.first().context("no SAE")?.1.as_ref();
    let prompts = case.tokens("tokens")?.to_vec2::<u32>()?;
    let n_top = usize::try_from(case.integer("top_n")?.context("no top_n")?)?;
    let mut stats = FeatureStats::new(sae.spec().d_sae, n_top);
    // In two parts, as a long pass would come.
    let (first, rest) = prompts.split_at(prompts.len() / 2);
    for part in [first, rest].into_iter().filter(|p| !p.is_empty()) {
        stats.add(&model, sae, part)?;
    }
    let mut out = Outputs::default();
    counts(case, &stats, &mut out)?;
    tops(case, &stats, n_top, &mut out)?;
    span(case, &model, sae, &prompts, &mut out)?;
    Ok(out)
}

fn vector(values: &[f64]) -> Result<Tensor> {
    Ok(Tensor::new(values, &Device::Cpu)?)
}

fn counts(case: &Case, stats: &FeatureStats, out: &mut Outputs) -> Result<()> {
    let numbers = |values: &[u64]| values.iter().map(|v| *v as f64).collect::<Vec<f64>>();
    let sparsity = &stats.sparsity;
    let log_density = sparsity.log10_density();
    out.put("n_active", vector(&numbers(&sparsity.active_tokens))?);
    out.put("n_prompts_active", vector(&numbers(&sparsity.active_prompts))?);
    out.put("density", vector(&sparsity.density())?);
    out.put("cah", vector(&sparsity.consistent_activation_heuristic())?);
    out.put("sum", vector(&stats.sums)?);
    let h = &case.params["histogram"];
    let edge = |name: &str| h[name].as_f64().context("no histogram edge");
    let bins = usize::try_from(h["bins"].as_u64().context("no bins")?)?;
    let bars = histogram(&log_density, (edge("low")?, edge("high")?), bins);
    out.put("density_histogram", vector(&numbers(&bars))?);
    out.put("log10_density", vector(&log_density)?);
    out.put_json("dead", stats.dead());
    Ok(())
}

fn tops(case: &Case, stats: &FeatureStats, n_top: usize, out: &mut Outputs) -> Result<()> {
    let d_sae = stats.top.len();
    let max: Vec<f64> = (0..d_sae).map(|f| f64::from(stats.max(f))).collect();
    out.put("max", vector(&max)?);
    let place = |top: &[sae_analysis::stats::Firing], i: usize| {
        top.get(i).map_or([-1.0, -1.0], |f| [f.prompt as f64, f.position as f64])
    };
    let places: Vec<f64> = stats.top.iter().flat_map(|t| place(t, 0)).collect();
    out.put("max_position", Tensor::from_vec(places, (d_sae, 2), &Device::Cpu)?);
    let features: Vec<usize> = serde_json::from_value(case.params["top_features"].clone())?;
    let tops: Vec<_> = features.iter().map(|f| &stats.top[*f]).collect();
    let all = |t: &Vec<sae_analysis::stats::Firing>| -> Vec<f64> {
        (0..n_top).flat_map(|i| place(t, i)).collect()
    };
    let positions: Vec<f64> = tops.iter().flat_map(|t| all(t)).collect();
    let shape = (features.len(), n_top, 2);
    out.put("top_positions", Tensor::from_vec(positions, shape, &Device::Cpu)?);
    let value =
        |t: &[sae_analysis::stats::Firing], i: usize| t.get(i).map_or(0.0, |f| f64::from(f.value));
    let values: Vec<f64> =
        tops.iter().flat_map(|t| (0..n_top).map(|i| value(t, i)).collect::<Vec<_>>()).collect();
    out.put("top_values", Tensor::from_vec(values, (features.len(), n_top), &Device::Cpu)?);
    let asked = case.expect_json.get("find_max_activation").and_then(Value::as_object);
    let found: Map<String, Value> = asked
        .into_iter()
        .flat_map(Map::keys)
        .filter_map(|f| Some((f.clone(), stats.max(f.parse().ok()?).into())))
        .collect();
    out.put_json("find_max_activation", found);
    Ok(())
}

fn span(
    case: &Case,
    model: &Decoder,
    sae: &dyn Sae,
    prompts: &[Vec<u32>],
    out: &mut Outputs,
) -> Result<()> {
    let features: Vec<usize> = serde_json::from_value(case.params["pca_features"].clone())?;
    let at = sae.spec().hook.context("the SAE names no hook")?;
    let acts = model.activations(&Batch::rows(prompts)?, at)?;
    let (codes, _) = sae.encode_sparse(&acts.contiguous()?)?;
    let Pca {
        rows,
        mean,
        components,
        embedding,
        explained_variance,
        explained_variance_ratio,
        singular_values,
    } = pca(sae, &codes, &features, COMPONENTS)?;
    let matrix = |rows: Vec<Vec<f64>>| -> Result<Tensor> {
        let shape = (rows.len(), rows.first().map_or(0, Vec::len));
        Ok(Tensor::from_vec(rows.concat(), shape, &Device::Cpu)?)
    };
    let length = prompts.first().map_or(1, Vec::len);
    let want = case.expected("pca.rows")?;
    let places: Vec<f64> = match want.rank() {
        2 => rows.iter().flat_map(|r| [(r / length) as f64, (r % length) as f64]).collect(),
        _ => rows.iter().map(|r| *r as f64).collect(),
    };
    let n = places.len();
    let places = Tensor::from_vec(places, n, &Device::Cpu)?;
    out.put(
        "pca.rows",
        if n == want.elem_count() { places.reshape(want.shape())? } else { places },
    );
    out.put("pca.reconstructions", matrix(reconstructions(sae, &codes, &features)?.1)?);
    out.put("pca.mean", vector(&mean)?);
    out.put("pca.components", matrix(components)?);
    out.put("pca.embedding", matrix(embedding)?);
    out.put("pca.explained_variance", vector(&explained_variance)?);
    out.put("pca.explained_variance_ratio", vector(&explained_variance_ratio)?);
    out.put("pca.singular_values", vector(&singular_values)?);
    Ok(())
}
