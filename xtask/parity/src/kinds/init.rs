//! `init`: how weights and scales begin.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use sae_train::Params;
use sae_train::init::{distances, geometric_median, mean, scale_rows};
use sae_train::scale::NormEstimate;
use sae_train::whiten::WhiteningEstimate;

use super::sae_train_step::batches;
use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let mut out = Outputs::default();
    match case.params["op"].as_str() {
        Some("geometric_median") => {
            let (points, _, width) = matrix(case, "points")?;
            let steps = usize::try_from(case.integer("maxiter")?.context("no maxiter")?)?;
            let median = geometric_median(&points, width, steps);
            let objective: f64 = distances(&points, &median).iter().sum();
            out.put("median", Tensor::new(median.as_slice(), &Device::Cpu)?);
            out.put("mean", Tensor::new(mean(&points, width).as_slice(), &Device::Cpu)?);
            out.put("objective", Tensor::new(&[objective], &Device::Cpu)?);
        }
        Some(op @ ("decoder_norm" | "unit_norm")) => {
            let norm = match op {
                "unit_norm" => 1.0,
                _ => case.params["norm"].as_f64().context("no norm")?,
            };
            let (values, d_sae, d_in) = matrix(case, "W_dec")?;
            let mut params = Params::zeros(d_in, d_sae, &[]);
            params.w_dec = values;
            scale_rows(&mut params, norm);
            let w_dec = Tensor::from_vec(params.w_dec, (d_sae, d_in), &Device::Cpu)?;
            out.put("W_enc", w_dec.t()?.contiguous()?);
            out.put("W_dec", w_dec);
        }
        Some("norm_scaling_factor") => {
            let d_in = usize::try_from(case.integer("d_in")?.context("no d_in")?)?;
            let mut estimate = NormEstimate::default();
            let each = batches(case)?;
            for batch in &each {
                estimate.add(batch, d_in);
            }
            let mut factor = estimate.factor(d_in).context("no rows")?;
            if case.params["era"] == "4.0.10" {
                // That version took the mean of the batches' means.
                let inverse = |batch: &Vec<f32>| {
                    let mut one = NormEstimate::default();
                    one.add(batch, d_in);
                    one.factor(d_in).map(f64::recip)
                };
                let inverses: Option<Vec<f64>> = each.iter().map(inverse).collect();
                let inverses = inverses.context("an empty batch")?;
                factor = inverses.len() as f64 / inverses.iter().sum::<f64>();
            }
            out.put_json("scaling_factor", factor);
        }
        Some("whitening") => {
            let d_in = usize::try_from(case.integer("d_in")?.context("no d_in")?)?;
            let mut estimate = WhiteningEstimate::new(d_in);
            let each = batches(case)?;
            for batch in &each {
                estimate.add(batch)?;
            }
            let eps = case.params["eps"].as_f64().context("no eps")?;
            let map = estimate.whitening(eps)?.context("too few rows")?;
            let (matrix, inverse) = (map.matrix(), map.inverse());
            out.put("mean", map.mean().clone());
            out.put("matrix_matrix_t", matrix.matmul(&matrix.t()?)?);
            out.put("inverse_t_inverse", inverse.t()?.matmul(inverse)?);
            out.put("matrix_inverse", matrix.matmul(inverse)?);
            let first = each.first().context("no batch")?;
            let x = Tensor::new(first.as_slice(), &Device::Cpu)?.reshape(((), d_in))?;
            let z = map.apply(&x)?;
            out.put("gram", z.matmul(&z.t()?)?);
            out.put("unscaled", map.undo(&z)?);
        }
        other => bail!("op {other:?} is not built"),
    }
    Ok(out)
}

fn matrix(case: &Case, name: &str) -> Result<(Vec<f32>, usize, usize)> {
    let tensor = case.input(name)?.to_dtype(DType::F32)?;
    let (rows, width) = tensor.dims2()?;
    Ok((tensor.flatten_all()?.to_vec1()?, rows, width))
}
