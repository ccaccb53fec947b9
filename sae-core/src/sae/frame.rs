//! `Frame`: what decode needs in order to undo what encode did to its input.

use candle_core::{D, Tensor};

use super::spec::{Architecture, Normalize, Reshape, SaeSpec};
use crate::{Error, Result};

/// How one input was flattened and normalised; `decode` undoes it.
///
/// A value, not state of the SAE: `encode` is `&self`, and a default frame decodes synthetic codes
/// (steering vectors need exactly that).
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Added to the output: `[.., 1]`.
    mean: Option<Tensor>,
    /// Multiplied into the output: `[.., 1]`.
    scale: Option<Tensor>,
    /// Number of heads and width of one, when the input came as `[.., n_heads, d_head]`.
    heads: Option<(usize, usize)>,
    /// The axes before the last of the flattened input.
    leading: Option<Vec<usize>>,
    /// Added to what latents are decoded to, `[.., d_in]`: what a temporal SAE predicts.
    predicted: Option<Tensor>,
    /// Added to the output, `[.., d_out]`: what a transcoder lets pass by its latents.
    skipped: Option<Tensor>,
}

impl Frame {
    /// Flatten the heads of `x` where the SAE reads `hook_z`: `[.., n_heads, d_head]` or
    /// `[.., d_in]` -> `[.., d_in]`.
    pub(crate) fn flatten(spec: &SaeSpec, x: &Tensor) -> Result<(Tensor, Self)> {
        let dims = x.dims();
        let leading = |axes: usize| Some(dims[..dims.len() - axes].to_vec());
        if dims.last() == Some(&spec.d_in) {
            return Ok((x.clone(), Self { leading: leading(1), ..Self::default() }));
        }
        if let (Reshape::HookZ, [.., n_heads, d_head]) = (spec.reshape_activations, dims)
            && n_heads * d_head == spec.d_in
        {
            let heads = Some((*n_heads, *d_head));
            let frame = Self { heads, leading: leading(2), ..Self::default() };
            return Ok((x.flatten_from(dims.len() - 2)?, frame));
        }
        Err(Error::WrongWidth { what: "the input of the SAE", got: dims.to_vec(), want: spec.d_in })
    }

    /// Normalise `x` `[.., d_in]` as the SAE was trained to see it, and remember how.
    ///
    /// `constant_norm_rescale`: `x sqrt(d_in) / |x|`. `layer_norm`: `(x - mean) / (std + 1e-5)`
    /// with the unbiased standard deviation; the output is `y std + mean`.
    ///
    /// What a transcoder writes is not what it reads: nothing is undone.
    pub(crate) fn normalize(self, spec: &SaeSpec, x: &Tensor) -> Result<(Tensor, Self)> {
        let (x, frame) = self.normalize_in(spec, x)?;
        Ok(match spec.transcoder {
            Some(_) => (x, Self { mean: None, scale: None, ..frame }),
            None => (x, frame),
        })
    }

    fn normalize_in(self, spec: &SaeSpec, x: &Tensor) -> Result<(Tensor, Self)> {
        #[allow(clippy::cast_precision_loss)]
        let d_in = spec.d_in as f64;
        match spec.normalize_activations {
            Normalize::None | Normalize::ExpectedAverageOnlyIn | Normalize::CovarianceWhitening => {
                Ok((x.clone(), self))
            }
            Normalize::ConstantNormRescale => {
                let norm = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
                let scale = (norm / d_in.sqrt())?;
                Ok((x.broadcast_div(&scale)?, Self { scale: Some(scale), ..self }))
            }
            Normalize::ConstantScalarRescale => {
                let Architecture::Temporal(temporal) = &spec.architecture else {
                    return Err(spec.misfit());
                };
                let factor = temporal.activation_normalization_factor;
                #[allow(clippy::cast_possible_truncation)]
                let undo = Tensor::new(&[(1.0 / factor) as f32], x.device())?;
                Ok(((x * factor)?, Self { scale: Some(undo.to_dtype(x.dtype())?), ..self }))
            }
            Normalize::LayerNorm => {
                const EPS: f64 = 1e-5;
                let mean = x.mean_keepdim(D::Minus1)?;
                let centred = x.broadcast_sub(&mean)?;
                let var = (centred.sqr()?.sum_keepdim(D::Minus1)? / (d_in - 1.0))?;
                let std = var.sqrt()?;
                let x = centred.broadcast_div(&(&std + EPS)?)?;
                Ok((x, Self { mean: Some(mean), scale: Some(std), ..self }))
            }
        }
    }

    /// What latents were decoded to with what was predicted: `[.., d_in]`.
    pub(crate) fn with_predicted(&self, recons: Tensor) -> Result<Tensor> {
        match &self.predicted {
            Some(predicted) => Ok((recons + predicted)?),
            None => Ok(recons),
        }
    }

    /// Remember what was predicted, decoded.
    pub(crate) fn predicting(self, predicted: Tensor) -> Self {
        Self { predicted: Some(predicted), ..self }
    }

    /// Remember what passes by the latents.
    pub(crate) fn skipping(self, skipped: Option<Tensor>) -> Self {
        Self { skipped, ..self }
    }

    /// Rows as `[.., width]`, with the leading axes of the input, where they are known.
    pub(crate) fn lead(&self, rows: Tensor) -> Result<Tensor> {
        let Some(leading) = &self.leading else { return Ok(rows) };
        let width = rows.dim(D::Minus1)?;
        Ok(rows.reshape([leading.as_slice(), &[width]].concat())?)
    }

    /// Undo the normalisation: `[.., d_out]`.
    pub(crate) fn restore(&self, y: &Tensor) -> Result<Tensor> {
        let mut y = y.clone();
        if let Some(scale) = &self.scale {
            y = y.broadcast_mul(scale)?;
        }
        if let Some(mean) = &self.mean {
            y = y.broadcast_add(mean)?;
        }
        if let Some(skipped) = &self.skipped {
            y = (y + skipped)?;
        }
        Ok(y)
    }

    /// Give the heads back: `[.., d_out]` -> the shape in which the input came.
    pub(crate) fn unflatten(&self, y: &Tensor) -> Result<Tensor> {
        let Some((n_heads, d_head)) = self.heads else { return Ok(y.clone()) };
        let mut shape = y.dims().to_vec();
        shape.pop();
        shape.extend([n_heads, d_head]);
        Ok(y.reshape(shape)?)
    }
}
