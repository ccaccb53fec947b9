//! The contracts: what every model and every SAE must keep, whatever it is inside.

use candle_core::{D, DType, Device, Tensor};

use super::Tolerance;
use crate::hook::{Axis, HookName, Logits, Plan, Zero};
use crate::model::{Batch, HookedModel};
use crate::sae::{Codes, Frame, Sae};
use crate::{Error, Result};

/// Check a model on a small batch: names and axes agree, captures change nothing, early stop and
/// resume give the same, unknown places are errors, an edit at every place that the loss depends on
/// takes effect.
///
/// # Errors
/// A run failed.
///
/// # Panics
/// The model breaks the contract.
pub fn check_model(model: &dyn HookedModel, batch: &Batch) -> Result<()> {
    let plain = model.run(batch, &Plan::new())?.require_logits()?.clone();
    let places = model.places();
    let all = model.run(batch, &Plan::new().capture_all(places.iter().copied()))?;
    Tolerance::F32.check(all.require_logits()?, &plain, "logits with every capture");
    let fired: Vec<HookName> = all.captured().iter().map(|(at, _)| *at).collect();
    assert_eq!(fired, places, "places() must list what fires, in order");
    for (at, act) in all.captured() {
        check_axes(model, *at, act);
        let alone = model.run(batch, &Plan::new().capture(*at).logits(Logits::Skip))?;
        assert!(alone.logits().is_none(), "{at}: logits were not asked for");
        Tolerance::F32.check(alone.require(*at)?, act, &format!("{at} captured alone"));
        let zeroed = model.run(batch, &Plan::new().intervene(*at, Zero))?;
        let moved = (zeroed.require_logits()? - &plain)?.abs()?.flatten_all()?.max(0)?;
        let moved = moved.to_scalar::<f32>()?;
        // (Softmax of nothing, and division by a zero scale, may give NaN: that is an effect too.)
        assert!(moved > 0.0 || moved.is_nan(), "{at}: setting it to zero must change the logits");
    }
    for layer in 0..model.spec().n_layers {
        let resid = all.require(HookName::resid_pre(layer))?;
        let rest = model.resume(resid, i32::from(layer), batch.mask(), &Plan::new())?;
        Tolerance::F32.check(rest.require_logits()?, &plain, &format!("resumed at {layer}"));
        let stopped = model.run(batch, &Plan::new().stop_at_layer(i32::from(layer)))?;
        let stopped = stopped.resid().ok_or(Error::NoLogits)?;
        Tolerance::F32.check(stopped, resid, &format!("stopped at {layer}"));
    }
    let beyond = HookName::resid_pre(model.spec().n_layers);
    assert!(model.run(batch, &Plan::new().capture(beyond)).is_err(), "{beyond} must be refused");
    Ok(())
}

fn check_axes(model: &dyn HookedModel, at: HookName, act: &Tensor) {
    let spec = model.spec();
    assert_eq!(act.rank(), at.axes().len(), "{at}: rank");
    for (dim, axis) in act.dims().iter().zip(at.axes()) {
        let want = match axis {
            Axis::DModel => spec.d_model,
            Axis::Head => spec.n_heads,
            Axis::KvHead => spec.n_key_value_heads,
            Axis::DHead => spec.d_head,
            Axis::DMlp => spec.d_mlp,
            Axis::One => 1,
            _ => continue,
        };
        assert_eq!(*dim, want, "{at}: {axis:?}");
    }
}

/// Check an SAE on inputs `[.., d_in]`: `reconstruct` is `decode(encode)`, another leading axis does
/// not matter to rows, sparse equals dense in both directions and for a few latents alone, a wrong width
/// is an error.
///
/// # Errors
/// An operation failed.
///
/// # Panics
/// The SAE breaks the contract.
pub fn check_sae(sae: &dyn Sae, x: &Tensor) -> Result<()> {
    let d_sae = sae.spec().d_sae;
    let (acts, frame) = sae.encode(x)?;
    let out = sae.decode(&acts, &frame)?;
    Tolerance::Bits.check(&sae.reconstruct(x)?, &out, "reconstruct");
    if x.rank() == 2 {
        let lifted = sae.reconstruct(&x.unsqueeze(0)?)?;
        Tolerance::F32.check(&lifted.squeeze(0)?, &out, "with a leading axis");
    }
    let (codes, sparse_frame) = sae.encode_sparse(x)?;
    let dense = codes.to_dense()?.reshape(acts.shape())?;
    Tolerance::F32.check(&dense, &acts, "sparse latents");
    let l0 = (codes.l0() - Codes::from_dense(&acts)?.l0()).abs();
    assert!(l0 < 1e-12, "l0 of sparse latents");
    Tolerance::F32.check(&sae.decode_sparse(&codes, &sparse_frame)?, &out, "sparse decode");
    let last = sae.encode_features(x, &[d_sae - 1])?;
    let want = acts.narrow(D::Minus1, d_sae - 1, 1)?.reshape(last.shape())?;
    Tolerance::F32.check(&last, &want, "one latent alone");
    let mut wide = x.dims().to_vec();
    wide.pop();
    wide.push(sae.spec().d_in + 1);
    let wide = Tensor::zeros(wide, DType::F32, &Device::Cpu)?;
    assert!(matches!(sae.encode(&wide), Err(Error::WrongWidth { .. })), "a wrong width");
    let narrow = acts.narrow(D::Minus1, 0, d_sae - 1)?;
    let refused = sae.decode(&narrow, &Frame::default());
    assert!(matches!(refused, Err(Error::WrongWidth { .. })), "too few latents");
    Ok(())
}
