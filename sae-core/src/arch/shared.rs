//! What all architectures do on the way in and on the way out.

use candle_core::{D, DType, Device, Tensor};

use crate::hook::SaeSite;
use crate::ops::{decode_rows, is_cpu_f32};
use crate::sae::{Codes, Frame, Probe, SaeSpec};
use crate::{Error, Result};

/// `[.., width] -> [rows, width]`
pub(super) fn as_rows(x: &Tensor) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    Ok(x.reshape((x.elem_count() / width.max(1), width))?)
}

/// Whether latents may be made of `x` in one pass: nobody sees the pre-activations, and no gradient
/// passes.
pub(super) fn in_one_pass(x: &Tensor, w_enc: &Tensor, probe: &dyn Probe) -> bool {
    !probe.wants(SaeSite::ActsPre) && !x.track_op() && is_cpu_f32(x) && is_cpu_f32(w_enc)
}

/// Latents of another width than the SAE's are an error.
pub(super) fn require_latents(spec: &SaeSpec, acts: &Tensor) -> Result<()> {
    let (got, want) = (acts.dims(), spec.d_sae);
    match got.last() {
        Some(width) if *width == want => Ok(()),
        _ => Err(Error::WrongWidth { what: "the latents of the SAE", got: got.to_vec(), want }),
    }
}

/// Codes -> the shape of the input, through the rows of `w_dec` `[d_sae, d_out]` that they name.
pub(super) fn decode_codes(
    codes: &Codes,
    w_dec: &Tensor,
    bias: Option<&Tensor>,
    frame: &Frame,
) -> Result<Tensor> {
    let recons = match bias {
        Some(bias) => decode_rows(codes, w_dec, bias)?,
        None => {
            decode_rows(codes, w_dec, &Tensor::zeros(w_dec.dim(1)?, DType::F32, &Device::Cpu)?)?
        }
    };
    let recons = frame.with_predicted(frame.lead(recons)?)?;
    frame.unflatten(&frame.restore(&recons)?)
}
