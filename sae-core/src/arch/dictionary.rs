//! `Dictionary`: what all architectures share - encoder, decoder, frame - around the latents of one.

use std::borrow::Cow;

use candle_core::{D, DType, Tensor};

use super::select::select;
use super::shared::{as_rows, decode_codes, require_latents};
use crate::hook::SaeSite;
use crate::ops::linear;
use crate::sae::{Codes, Frame, Normalize, Probe, Sae, SaeSpec, Whitening};
use crate::{Error, Result};

/// The weights that every architecture has.
#[derive(Clone, Debug)]
pub struct Parts {
    pub(super) spec: SaeSpec,
    /// `[d_in, d_sae]`
    pub(super) w_enc: Tensor,
    /// `[d_sae, d_out]`
    pub(super) w_dec: Tensor,
    /// `[d_out]`
    pub(super) b_dec: Tensor,
    /// `[d_out, d_in]`: lets the raw input of a transcoder pass by its latents.
    pub(super) w_skip: Option<Tensor>,
    /// `[d_sae]`: multiplies latents inside decode (`finetuning_scaling_factor`, SAELens 3 to 5).
    pub(super) finetuning_scale: Option<Tensor>,
}

/// How one architecture makes latents; `x` is centred and normalised, `[.., d_in]`.
pub trait Latents: Send + Sync {
    /// `[.., d_in] -> [.., d_sae]`, passing `hook_sae_acts_pre`.
    ///
    /// # Errors
    /// Another width than `d_in`.
    fn encode(&self, parts: &Parts, x: &Tensor, probe: &mut dyn Probe) -> Result<Tensor>;

    /// `[rows, d_in]` -> codes.
    ///
    /// # Errors
    /// As [`Latents::encode`].
    fn encode_sparse(&self, parts: &Parts, x: &Tensor) -> Result<Codes>;

    /// What latents are multiplied by before `W_dec`, `[d_sae]`.
    fn decode_scale(&self) -> Option<&Tensor> {
        None
    }

    /// The architecture's own tensors, under SAELens' names.
    fn tensors(&self) -> Vec<(&'static str, Tensor)>;

    /// Multiply biases and thresholds by the decoder norms, `[d_sae]`.
    ///
    /// # Errors
    /// The architecture does not admit the fold.
    fn fold_norms(&mut self, parts: &Parts, norms: &Tensor) -> Result<()>;

    /// Subtract `shift`, `[d_sae]`, from what the product with `W_enc` gives.
    ///
    /// # Errors
    /// The tensor operation failed.
    fn shift_biases(&mut self, shift: &Tensor) -> Result<()>;

    /// Do without the decoder norms: they were folded.
    fn without_rescale(&mut self) {}

    /// Inputs are to come unscaled, that were multiplied by `scale`.
    ///
    /// # Errors
    /// The tensor operation failed.
    fn unscale(&mut self, _scale: f64) -> Result<()> {
        Ok(())
    }

    /// Take note of changed weights.
    ///
    /// # Errors
    /// The tensor operation failed.
    fn refresh(&mut self, _parts: &Parts) -> Result<()> {
        Ok(())
    }
}

/// An SAE: the shared parts around the latents of one architecture.
#[derive(Clone, Debug)]
pub struct Dictionary<L> {
    pub(super) parts: Parts,
    pub(super) latents: L,
}

impl<L: Latents> Dictionary<L> {
    pub(super) fn assemble(parts: Parts, mut latents: L) -> Result<Self> {
        latents.refresh(&parts)?;
        Ok(Self { parts, latents })
    }

    /// `[.., d_in]` flattened, normalised and centred, with the frame that undoes it.
    fn prepare(&self, x: &Tensor, probe: &mut dyn Probe) -> Result<(Tensor, Frame)> {
        let spec = &self.parts.spec;
        let x = x.to_dtype(self.parts.w_enc.dtype())?;
        let (x, frame) = Frame::flatten(spec, &x)?;
        let skipped = self.parts.w_skip.as_ref().map(|w| linear(&x, &w.t()?, None)).transpose()?;
        let frame = frame.skipping(skipped);
        let x = probe.at(SaeSite::Input, x)?;
        let (x, frame) = frame.normalize(spec, &x)?;
        let x = if spec.apply_b_dec_to_input { x.broadcast_sub(&self.parts.b_dec)? } else { x };
        Ok((x, frame))
    }

    /// Whether the whitening of an input can be undone in the output.
    fn check_whitening(&self, whitening: &Whitening) -> Result<()> {
        let (d_in, d_out) = (self.parts.spec.d_in, self.parts.spec.d_out());
        let why = match &self.parts.w_skip {
            Some(_) => "a skip transcoder, which reads its input past the encoder too",
            None if d_in != d_out => "a transcoder whose output is not as wide as its input",
            None => {
                let got = whitening.mean().dims().to_vec();
                let what = "the mean of a whitening";
                return match got == [d_in] {
                    true => Ok(()),
                    false => Err(Error::WrongWidth { what, got, want: d_in }),
                };
            }
        };
        Err(Error::NotFoldable { op: "fold activation whitening", why })
    }

    /// What latents are multiplied by inside decode, `[d_sae]`.
    fn decode_scale(&self) -> Result<Option<Tensor>> {
        match (self.latents.decode_scale(), &self.parts.finetuning_scale) {
            (Some(a), Some(b)) => Ok(Some((a * b)?)),
            (a, b) => Ok(a.or(b.as_ref()).cloned()),
        }
    }
}

impl<L: Latents> Sae for Dictionary<L> {
    fn spec(&self) -> &SaeSpec {
        &self.parts.spec
    }

    fn decoder(&self) -> &Tensor {
        &self.parts.w_dec
    }

    fn encode_with(&self, x: &Tensor, probe: &mut dyn Probe) -> Result<(Tensor, Frame)> {
        let (x, frame) = self.prepare(x, probe)?;
        let acts = self.latents.encode(&self.parts, &x, probe)?;
        Ok((probe.at(SaeSite::ActsPost, acts)?, frame))
    }

    fn decode_with(&self, acts: &Tensor, frame: &Frame, probe: &mut dyn Probe) -> Result<Tensor> {
        require_latents(&self.parts.spec, acts)?;
        let acts = match self.decode_scale()? {
            Some(scale) => acts.broadcast_mul(&scale)?,
            None => acts.clone(),
        };
        let recons = linear(&acts, &self.parts.w_dec, Some(&self.parts.b_dec))?;
        let recons = probe.at(SaeSite::Recons, recons)?;
        frame.unflatten(&frame.restore(&recons)?)
    }

    fn encode_sparse(&self, x: &Tensor) -> Result<(Codes, Frame)> {
        let (x, frame) = self.prepare(x, &mut ())?;
        Ok((self.latents.encode_sparse(&self.parts, &as_rows(&x)?)?, frame))
    }

    fn encode_features(&self, x: &Tensor, features: &[usize]) -> Result<Tensor> {
        match select(self, features)? {
            Some(few) => Ok(few.encode(x)?.0),
            None => {
                let (codes, frame) = self.encode_sparse(x)?;
                frame.lead(codes.columns(features)?)
            }
        }
    }

    fn decode_sparse(&self, codes: &Codes, frame: &Frame) -> Result<Tensor> {
        let scaled;
        let codes = match self.decode_scale()? {
            Some(scale) => {
                scaled = codes.clone().scaled(&scale.to_vec1::<f32>()?);
                &scaled
            }
            None => codes,
        };
        decode_codes(codes, &self.parts.w_dec, Some(&self.parts.b_dec), frame)
    }

    fn tensors(&self) -> Vec<(Cow<'static, str>, Tensor)> {
        let parts = &self.parts;
        let mut all = self.latents.tensors();
        all.push(("W_enc", parts.w_enc.clone()));
        all.push(("W_dec", parts.w_dec.clone()));
        all.push(("b_dec", parts.b_dec.clone()));
        all.extend(parts.w_skip.iter().map(|w_skip| ("W_skip", w_skip.clone())));
        let scale = parts.finetuning_scale.iter();
        all.extend(scale.map(|scale| ("finetuning_scaling_factor", scale.clone())));
        all.sort_by_key(|(name, _)| *name);
        all.into_iter().map(|(name, tensor)| (Cow::Borrowed(name), tensor)).collect()
    }

    fn fold_w_dec_norm(&mut self) -> Result<()> {
        let norms = decoder_norms(&self.parts.w_dec)?.maximum(1e-8f32)?;
        self.latents.fold_norms(&self.parts, &norms)?;
        self.parts.w_dec = self.parts.w_dec.broadcast_div(&norms.unsqueeze(1)?)?;
        self.parts.w_enc = self.parts.w_enc.broadcast_mul(&norms)?;
        self.latents.refresh(&self.parts)
    }

    fn fold_activation_norm_scaling_factor(&mut self, scale: f64) -> Result<()> {
        self.parts.w_enc = (&self.parts.w_enc * scale)?;
        self.parts.w_dec = (&self.parts.w_dec / scale)?;
        self.parts.b_dec = (&self.parts.b_dec / scale)?;
        self.parts.spec.normalize_activations = Normalize::None;
        self.latents.unscale(scale)?;
        self.latents.refresh(&self.parts)
    }

    fn fold_activation_whitening(&mut self, whitening: &Whitening) -> Result<()> {
        self.check_whitening(whitening)?;
        if let Some(rescale @ true) = self.parts.spec.architecture.rescale_mut() {
            // Norms of decoder rows change under the whitening, and with them what is chosen.
            *rescale = false;
            self.fold_w_dec_norm()?;
            self.latents.without_rescale();
        }
        let parts = &mut self.parts;
        let wide = |x: &Tensor| x.to_dtype(DType::F64);
        let dtype = parts.w_enc.dtype();
        let w_enc = whitening.matrix().matmul(&wide(&parts.w_enc)?)?;
        if !parts.spec.apply_b_dec_to_input {
            let shift = whitening.mean().unsqueeze(0)?.matmul(&w_enc)?.squeeze(0)?;
            self.latents.shift_biases(&shift.to_dtype(dtype)?)?;
        }
        parts.w_enc = w_enc.to_dtype(dtype)?;
        parts.w_dec = wide(&parts.w_dec)?.matmul(whitening.inverse())?.to_dtype(dtype)?;
        parts.b_dec = whitening.undo(&wide(&parts.b_dec)?.unsqueeze(0)?)?.squeeze(0)?;
        parts.b_dec = parts.b_dec.to_dtype(dtype)?;
        parts.spec.normalize_activations = Normalize::None;
        self.latents.refresh(&self.parts)
    }
}

/// Norm of each decoder row: `[d_sae, d_out] -> [d_sae]`.
pub(super) fn decoder_norms(w_dec: &Tensor) -> Result<Tensor> {
    Ok(w_dec.sqr()?.sum(D::Minus1)?.sqrt()?)
}
