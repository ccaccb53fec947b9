//! What the weights alone say of each latent.

use candle_core::{D, DType, Tensor};
use sae_core::Result;
use sae_core::sae::Sae;

/// One number per latent, `[d_sae]`.
#[derive(Clone, Debug)]
pub struct WeightMetrics {
    /// Norm of the encoder column.
    pub encoder_norm: Tensor,
    /// Cosine of the angle between encoder column and decoder row.
    pub encoder_decoder_cosine_sim: Tensor,
    /// `b_enc`, where the architecture has one.
    pub encoder_bias: Option<Tensor>,
}

impl WeightMetrics {
    /// Of an SAE; `None` without an encoder matrix of its own.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn of(sae: &dyn Sae) -> Result<Option<Self>> {
        let tensors = sae.tensors();
        let named = |name: &str| tensors.iter().find(|(n, _)| *n == name).map(|(_, t)| t);
        let Some(w_enc) = named("W_enc") else { return Ok(None) };
        Self::new(w_enc, sae.decoder(), named("b_enc")).map(Some)
    }

    /// Of `W_enc` `[d_in, d_sae]`, `W_dec` `[d_sae, d_in]` and `b_enc` `[d_sae]`.
    ///
    /// # Errors
    /// Shapes that do not fit each other.
    pub fn new(w_enc: &Tensor, w_dec: &Tensor, b_enc: Option<&Tensor>) -> Result<Self> {
        let (enc, dec) = (w_enc.t()?.to_dtype(DType::F64)?, w_dec.to_dtype(DType::F64)?);
        let norm = |w: &Tensor| w.sqr()?.sum(D::Minus1)?.sqrt();
        let encoder_norm = norm(&enc)?;
        let product = (&enc * &dec)?.sum(D::Minus1)?;
        let encoder_decoder_cosine_sim = (product / (&encoder_norm * norm(&dec)?)?)?;
        let encoder_bias = b_enc.cloned();
        Ok(Self { encoder_norm, encoder_decoder_cosine_sim, encoder_bias })
    }
}
