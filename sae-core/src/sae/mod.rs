//! Sparse autoencoders: the trait, its sparse codes, and an SAE spliced into a running model.

mod codes;
mod edit;
mod frame;
mod run;
mod spec;
mod splice;
mod whitening;

use std::borrow::Cow;

use candle_core::Tensor;

pub use codes::Codes;
pub use edit::{FeatureEdit, FeatureOp};
pub use frame::Frame;
pub use run::RunWithSaes;
pub use spec::{
    Architecture, BatchTopK, MatchingPursuit, Normalize, Reshape, SaeSpec, Temporal, Transcoder,
};
pub use splice::{SaeExt, Splice};
pub use whitening::Whitening;

use crate::hook::SaeSite;
use crate::{Error, Result};

/// Sees, and may change, what passes the hook points inside an SAE.
pub trait Probe {
    /// The value at `site`; what comes back goes on.
    ///
    /// # Errors
    /// Whatever keeps an edit from being made.
    fn at(&mut self, site: SaeSite, value: Tensor) -> Result<Tensor>;

    /// Whether anything is done at `site`; values that nobody sees need not be made.
    fn wants(&self, _site: SaeSite) -> bool {
        true
    }
}

/// Sees nothing.
impl Probe for () {
    fn at(&mut self, _: SaeSite, value: Tensor) -> Result<Tensor> {
        Ok(value)
    }

    fn wants(&self, _: SaeSite) -> bool {
        false
    }
}

/// A sparse autoencoder at inference, with SAELens' semantics.
///
/// Row vectors: `f = act((x - b_dec) W_enc + b_enc)`, `x_hat = f W_dec + b_dec`. Leading axes are
/// free. For SAEs on `hook_z` the input may come as `[.., n_heads, d_head]`.
pub trait Sae: Send + Sync {
    /// Widths, hook, architecture, normalisation.
    fn spec(&self) -> &SaeSpec;

    /// `W_dec`, `[d_sae, d_out]`.
    fn decoder(&self) -> &Tensor;

    /// `[.., d_in] -> [.., d_sae]`, passing `hook_sae_input`, `_acts_pre` and `_acts_post`.
    ///
    /// # Errors
    /// Another width than `d_in`.
    fn encode_with(&self, x: &Tensor, probe: &mut dyn Probe) -> Result<(Tensor, Frame)>;

    /// `[.., d_sae] -> [.., d_out]`, passing `hook_sae_recons`; heads are given back.
    ///
    /// # Errors
    /// Another width than `d_sae`.
    fn decode_with(&self, acts: &Tensor, frame: &Frame, probe: &mut dyn Probe) -> Result<Tensor>;

    /// The weights under SAELens' names, in the order in which SAELens writes them.
    fn tensors(&self) -> Vec<(Cow<'static, str>, Tensor)>;

    /// `[.., d_in]` -> codes, one row per input, without a dense `[.., d_sae]` in between.
    ///
    /// # Errors
    /// As [`Sae::encode_with`].
    fn encode_sparse(&self, x: &Tensor) -> Result<(Codes, Frame)> {
        let (acts, frame) = self.encode_with(x, &mut ())?;
        Ok((Codes::from_dense(&acts)?, frame))
    }

    /// The latents `features` alone, in that order: `[.., d_in] -> [.., features]`. Where a latent does
    /// not depend on the others, only their columns of the encoder are read.
    ///
    /// # Errors
    /// As [`Sae::encode_with`], and a latent that the SAE does not have.
    fn encode_features(&self, x: &Tensor, features: &[usize]) -> Result<Tensor> {
        let (codes, frame) = self.encode_sparse(x)?;
        frame.lead(codes.columns(features)?)
    }

    /// Codes -> the shape of the input, touching only the decoder rows that the codes name.
    ///
    /// # Errors
    /// Codes of another SAE.
    fn decode_sparse(&self, codes: &Codes, frame: &Frame) -> Result<Tensor> {
        self.decode_with(&codes.to_dense()?, frame, &mut ())
    }

    /// Divide decoder rows by their norms (at least 1e-8) and multiply encoder columns, biases and
    /// thresholds by them: latents scale, outputs stay.
    ///
    /// # Errors
    /// The architecture does not admit it.
    fn fold_w_dec_norm(&mut self) -> Result<()> {
        Err(Error::NotFoldable { op: "fold W_dec norm", why: self.spec().architecture_name() })
    }

    /// Fold the trainer's input scale `s` into the weights: afterwards the SAE of raw `x` is what
    /// the SAE of `s x` was before, divided by `s`.
    ///
    /// # Errors
    /// The architecture does not admit it.
    fn fold_activation_norm_scaling_factor(&mut self, _scale: f64) -> Result<()> {
        Err(Error::NotFoldable { op: "fold activation norm", why: self.spec().architecture_name() })
    }

    /// Fold the trainer's whitening into the weights: afterwards the SAE of raw `x` is what the SAE of
    /// whitened `x` was before, brought back. Computed in f64.
    ///
    /// # Errors
    /// The architecture does not admit it.
    fn fold_activation_whitening(&mut self, _whitening: &Whitening) -> Result<()> {
        Err(Error::NotFoldable {
            op: "fold activation whitening",
            why: self.spec().architecture_name(),
        })
    }

    /// `[.., d_in] -> [.., d_sae]`
    ///
    /// # Errors
    /// Another width than `d_in`.
    fn encode(&self, x: &Tensor) -> Result<(Tensor, Frame)> {
        self.encode_with(x, &mut ())
    }

    /// `[.., d_sae] -> [.., d_out]`
    ///
    /// # Errors
    /// Another width than `d_sae`.
    fn decode(&self, acts: &Tensor, frame: &Frame) -> Result<Tensor> {
        self.decode_with(acts, frame, &mut ())
    }

    /// `decode(encode(x))`, in the shape of `x`.
    ///
    /// # Errors
    /// Another width than `d_in`.
    fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        let (acts, frame) = self.encode(x)?;
        self.decode(&acts, &frame)
    }
}
