//! Final norm's gain and bias, unembedding, and what processing makes of them.
//!
//! `W_U` as TransformerLens' processing leaves it is never built for a forward pass: gain, bias and
//! centring act on the narrow side, so that a tied table is held once.

use candle_core::{D, DType, Device, Tensor};
use sae_core::ops::gemm::{Mat, gemm_tiled};
use sae_core::ops::{F32s, is_cpu_f32, linear};
use sae_core::{Error, Result};

use crate::linear::Matrix;

/// Up to so many rows the product is bound by reading the table.
const FEW_ROWS: usize = 4;

/// The map from a normalised residual stream to logits.
#[derive(Clone, Debug)]
pub(crate) struct Unembed {
    /// From `d_model` to the vocabulary, as published.
    pub(crate) table: Matrix,
    /// Gain of the final norm, `[d_model]`.
    pub(crate) gain: Tensor,
    /// Bias of the final norm, `[d_model]`; RMS norms have none.
    pub(crate) bias: Option<Tensor>,
    /// Bias of the logits, `[d_vocab]`.
    pub(crate) logit_bias: Option<Tensor>,
    /// Gain and bias count as part of `W_U` and `b_U` (`fold_ln`).
    pub(crate) folded: bool,
    /// `W_U` is centred over `d_model` (`fold_ln` of a LayerNorm).
    pub(crate) centre_input: bool,
    /// Mean of the table over the vocabulary, `[d_model]`, when logits are centred.
    pub(crate) vocabulary_mean: Option<Tensor>,
}

impl Unembed {
    /// As published: the table, the final norm, and the bias of the logits.
    pub(crate) fn new(
        table: Matrix,
        (gain, bias): (Tensor, Option<Tensor>),
        logit_bias: Option<Tensor>,
    ) -> Self {
        let (folded, centre_input) = (false, false);
        Self { table, gain, bias, logit_bias, folded, centre_input, vocabulary_mean: None }
    }

    pub(crate) fn centre_vocabulary(&mut self) -> Result<()> {
        self.vocabulary_mean = Some(self.table.mean_of_outputs()?.squeeze(0)?);
        if let Some(bias) = &self.logit_bias {
            self.logit_bias = Some(bias.broadcast_sub(&bias.mean_keepdim(0)?)?);
        }
        Ok(())
    }

    /// What the table multiplies: `[.., d_model]` normalised -> the same after gain and bias.
    pub(crate) fn read(&self, normalized: &Tensor) -> Result<Tensor> {
        let x = if self.centre_input {
            normalized.broadcast_sub(&normalized.mean_keepdim(D::Minus1)?)?
        } else {
            normalized.clone()
        };
        let x = x.broadcast_mul(&self.gain)?;
        match &self.bias {
            Some(bias) => Ok(x.broadcast_add(bias)?),
            None => Ok(x),
        }
    }

    /// `[.., d_model]` after [`Unembed::read`] -> logits, `[.., d_vocab]`.
    pub(crate) fn logits(&self, y: &Tensor) -> Result<Tensor> {
        let logits = self.directions(y)?;
        match &self.logit_bias {
            Some(bias) => Ok(logits.broadcast_add(bias)?),
            None => Ok(logits),
        }
    }

    /// The same without the bias of the logits.
    fn directions(&self, y: &Tensor) -> Result<Tensor> {
        let rows = y.elem_count() / y.dim(D::Minus1)?.max(1);
        let fused = !y.track_op() && is_cpu_f32(y) && rows > FEW_ROWS;
        let table = self.table.f32().filter(|table| fused && table.device().is_cpu());
        let shift = match &self.vocabulary_mean {
            Some(mean) => Some(linear(y, &mean.unsqueeze(1)?, None)?),
            None => None,
        };
        if let Some(table) = table {
            return tiled(y, table, shift.as_ref());
        }
        let logits = self.table.forward(y, None, None)?;
        match shift {
            Some(shift) => Ok(logits.broadcast_sub(&shift)?),
            None => Ok(logits),
        }
    }

    /// `x W_U` without biases, `[.., d_model] -> [.., d_vocab]`: what directions do to logits.
    pub(crate) fn project(&self, directions: &Tensor) -> Result<Tensor> {
        let mut x = directions.clone();
        if self.centre_input {
            x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        }
        if self.folded {
            x = x.broadcast_mul(&self.gain)?;
        }
        self.directions(&x)
    }

    /// Columns of `W_U` as processed, `[d_model]` each: `[token, d_model]`.
    pub(crate) fn columns(&self, tokens: &[u32]) -> Result<Tensor> {
        let mut rows = self.table.outputs(tokens)?;
        if let Some(mean) = &self.vocabulary_mean {
            rows = rows.broadcast_sub(mean)?;
        }
        if self.folded {
            rows = rows.broadcast_mul(&self.gain)?;
        }
        if self.centre_input {
            rows = rows.broadcast_sub(&rows.mean_keepdim(D::Minus1)?)?;
        }
        Ok(rows)
    }

    /// `W_U` as TransformerLens holds it after processing, `[d_model, d_vocab]`.
    pub(crate) fn w_u(&self) -> Result<Tensor> {
        let mut table = self.table.widened()?.t()?;
        if self.folded {
            table = table.broadcast_mul(&self.gain)?;
        }
        if self.centre_input {
            table = table.broadcast_sub(&table.mean_keepdim(D::Minus1)?)?;
        }
        if self.vocabulary_mean.is_some() {
            table = table.broadcast_sub(&table.mean_keepdim(0)?)?;
        }
        Ok(table.t()?.contiguous()?)
    }

    /// `b_U` as TransformerLens holds it after processing, `[d_vocab]`.
    pub(crate) fn b_u(&self) -> Result<Tensor> {
        let (_, d_vocab) = self.table.dims()?;
        let none = || Tensor::zeros(d_vocab, DType::F32, &Device::Cpu);
        let folded = match &self.bias {
            Some(bias) if self.folded => {
                let shift = self.table.forward(bias, None, None)?;
                match self.vocabulary_mean {
                    Some(_) => shift.broadcast_sub(&shift.mean_keepdim(0)?)?,
                    None => shift,
                }
            }
            _ => none()?,
        };
        match &self.logit_bias {
            Some(bias) => Ok((folded + bias)?),
            None => Ok(folded),
        }
    }
}

/// `y table - shift`, the shift applied while each tile is still in cache.
fn tiled(y: &Tensor, table: &Tensor, shift: Option<&Tensor>) -> Result<Tensor> {
    let (d_model, d_vocab) = table.dims2()?;
    let y = y.contiguous()?;
    let shift = shift.map(|s| s.flatten_all()?.to_vec1::<f32>()).transpose()?;
    let rows = y.elem_count() / d_model.max(1);
    let mut shape = y.dims().to_vec();
    shape.pop();
    shape.push(d_vocab);
    let (values, weights) = (F32s::new(&y)?, F32s::new(table)?);
    let (Some(lhs), Some(rhs)) = (
        Mat::new(values.values(), (rows, d_model), (d_model, 1)),
        Mat::new(
            weights.values(),
            (d_model, d_vocab),
            (weights.strides()[0], weights.strides()[1]),
        ),
    ) else {
        return Err(Error::LayoutOutside);
    };
    let mut out = vec![0f32; rows * d_vocab];
    gemm_tiled(&mut out, lhs, rhs, |row, _, segment| {
        if let Some(shift) = &shift {
            segment.iter_mut().for_each(|v| *v -= shift[row]);
        }
    });
    Ok(Tensor::from_vec(out, shape, &Device::Cpu)?)
}
