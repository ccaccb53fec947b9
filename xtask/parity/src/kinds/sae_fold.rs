//! `sae-fold`: an SAE, or the checkpoint of a training run, before and after a fold.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Tensor};
use sae_core::arch::to_inference;
use sae_core::sae::{Architecture, Sae, Whitening};
use sae_core::sae_lens::{LoadOptions, load};
use serde_json::Value;

use super::sae_cfg;
use crate::case::{Case, Outputs};

/// Take `before`, fold, take `after`.
pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let (_, folder) = case.saes()?.into_iter().next().context("the case names no SAE")?;
    let mut sae = load(&folder, LoadOptions::default())?.sae;
    let x = case.input("x")?;
    let mut out = Outputs::default();
    match case.param("op").and_then(Value::as_str).context("no param `op`")? {
        "W_dec_norm" => {
            put_pass(&mut out, "before", sae.as_ref(), &x, Ok)?;
            sae.fold_w_dec_norm()?;
        }
        "activation_norm" => {
            let scale = case.param("scaling_factor").and_then(Value::as_f64);
            let scale = scale.context("no param `scaling_factor`")?;
            put_pass(&mut out, "before", sae.as_ref(), &(&x * scale)?, |y| Ok((y / scale)?))?;
            sae.fold_activation_norm_scaling_factor(scale)?;
        }
        "whitening" => {
            let whitening = Whitening::new(
                &case.input("mean")?,
                &case.input("matrix")?,
                &case.input("inverse_matrix")?,
            )?;
            let white = whitening.apply(&x.to_dtype(DType::F64)?)?.to_dtype(DType::F32)?;
            let undo = |y: Tensor| Ok(whitening.undo(&y.to_dtype(DType::F64)?)?);
            put_pass(&mut out, "before", sae.as_ref(), &white, undo)?;
            sae.fold_activation_whitening(&whitening)?;
        }
        "to_inference" => sae = to_inference(sae.as_ref())?,
        other => bail!("unknown op `{other}`"),
    }
    put_pass(&mut out, "after", sae.as_ref(), &x, Ok)?;
    for (name, tensor) in sae.tensors() {
        out.put(format!("after.{name}"), tensor);
    }
    if let Architecture::MatchingPursuit(stop) = &sae.spec().architecture {
        out.put_json("residual_threshold", stop.residual_threshold);
    }
    out.put_json("cfg", sae_cfg::expected_keys(case, &sae_cfg::of(sae.spec())));
    Ok(out)
}

/// Latents and output on `x`, the output brought back by `undo`.
fn put_pass(
    out: &mut Outputs,
    when: &str,
    sae: &dyn Sae,
    x: &Tensor,
    undo: impl Fn(Tensor) -> Result<Tensor>,
) -> Result<()> {
    let (acts, frame) = sae.encode(x)?;
    out.put(format!("{when}.output"), undo(sae.decode(&acts, &frame)?)?);
    out.put(format!("{when}.acts_post"), acts);
    Ok(())
}
