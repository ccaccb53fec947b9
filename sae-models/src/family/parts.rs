//! Maps and norms as files hold them.

use candle_core::Tensor;

use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::linear::Linear;
use crate::weights::NormWeights;

/// Whether a map has a bias.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    Yes,
    No,
}

impl Bias {
    pub(super) fn when(there: bool) -> Self {
        if there { Self::Yes } else { Self::No }
    }
}

/// A map stored `[d_out, d_in]`, as PyTorch's `Linear` does; multiplied as a transposed view.
pub(super) fn linear(
    file: &mut Checkpoint,
    name: &str,
    (d_in, d_out): (usize, usize),
    bias: Bias,
) -> Result<Linear> {
    let weight = file.matrix(&format!("{name}.weight"), &[d_out, d_in])?;
    let bias = match bias {
        Bias::Yes => Some(file.take(&format!("{name}.bias"), &[d_out])?),
        Bias::No => None,
    };
    Ok(Linear::new(weight, bias)?)
}

/// Queries, keys and values from maps of their own, `{prefix}{q,k,v}_proj`.
pub(super) fn qkv(
    file: &mut Checkpoint,
    prefix: &str,
    d_model: usize,
    [q, kv]: [usize; 2],
    bias: Bias,
) -> Result<Linear> {
    let mut part = |name: &str, width: usize| {
        linear(file, &format!("{prefix}{name}_proj"), (d_model, width), bias)
    };
    Ok(Linear::side_by_side(&[part("q", q)?, part("k", kv)?, part("v", kv)?])?)
}

/// Gain and bias of a LayerNorm.
pub(super) fn affine(
    file: &mut Checkpoint,
    name: &str,
    d: usize,
) -> Result<(Tensor, Option<Tensor>)> {
    let gain = file.take(&format!("{name}.weight"), &[d])?;
    Ok((gain, Some(file.take(&format!("{name}.bias"), &[d])?)))
}

/// A LayerNorm.
pub(super) fn layer_norm(file: &mut Checkpoint, name: &str, d: usize) -> Result<NormWeights> {
    let (gain, bias) = affine(file, name, d)?;
    Ok(NormWeights::Affine { gain, bias })
}

/// Gain of an RMS norm: what is stored, plus `offset`.
pub(super) fn rms_norm(
    file: &mut Checkpoint,
    name: &str,
    d: usize,
    offset: f64,
) -> Result<NormWeights> {
    Ok(NormWeights::Affine { gain: gain(file, name, d, offset)?, bias: None })
}

/// What is stored, plus `offset`.
pub(super) fn gain(file: &mut Checkpoint, name: &str, d: usize, offset: f64) -> Result<Tensor> {
    let stored = file.take(&format!("{name}.weight"), &[d])?;
    Ok(if offset == 0.0 { stored } else { (stored + offset)? })
}
