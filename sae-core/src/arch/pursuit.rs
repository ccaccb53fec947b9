//! Matching pursuit: latents chosen one after another, each by what the ones before have left.

use std::borrow::Cow;

use candle_core::{D, DType, Tensor};

use super::WeightSource;
use super::shared::{as_rows, decode_codes, require_latents};
use crate::Result;
use crate::hook::SaeSite;
use crate::ops::{encode_top_k, gather, linear, pursue, relu};
use crate::sae::{Architecture, Codes, Frame, MatchingPursuit, Normalize, Probe, Sae, SaeSpec};

/// Tied weights: a latent is read along the direction in which it writes.
#[derive(Clone, Debug)]
pub struct PursuitSae {
    spec: SaeSpec,
    stop: MatchingPursuit,
    /// `[d_sae, d_in]`
    w_dec: Tensor,
    /// `[d_in]`
    b_dec: Tensor,
}

impl PursuitSae {
    pub(super) fn build(
        spec: SaeSpec,
        stop: MatchingPursuit,
        source: &mut dyn WeightSource,
    ) -> Result<Self> {
        let w_dec = source.take("W_dec", &[spec.d_sae, spec.d_in])?;
        let b_dec = source.take("b_dec", &[spec.d_in])?;
        Ok(Self { spec, stop, w_dec, b_dec })
    }

    /// `b_dec` where it was subtracted from the input: the encoder is the decoder.
    fn bias(&self) -> Option<&Tensor> {
        self.spec.apply_b_dec_to_input.then_some(&self.b_dec)
    }

    fn max_iterations(&self) -> usize {
        self.stop.max_iterations.unwrap_or(self.spec.d_in)
    }

    fn prepare(&self, x: &Tensor, probe: &mut dyn Probe) -> Result<(Tensor, Frame)> {
        let (x, frame) = Frame::flatten(&self.spec, &x.to_dtype(self.w_dec.dtype())?)?;
        let x = probe.at(SaeSite::Input, x)?;
        let (x, frame) = frame.normalize(&self.spec, &x)?;
        let centred = self.spec.apply_b_dec_to_input;
        Ok((if centred { x.broadcast_sub(&self.b_dec)? } else { x }, frame))
    }

    /// The latent that fits each row best, the lowest where several do, `None` where none does:
    /// `[rows, d_in] -> [rows]`.
    fn best(&self, residual: &Tensor) -> Result<Vec<Option<u32>>> {
        let no_bias = Tensor::zeros(self.spec.d_sae, DType::F32, residual.device())?;
        let best = encode_top_k(residual, &self.w_dec.t()?, &no_bias, None, 1)?;
        Ok((0..best.rows()).map(|row| best.row(row).0.first().copied()).collect())
    }

    /// Whether a row is done after an iteration that did or did not find a new latent.
    fn done(&self, found_new: bool, left: f64) -> bool {
        let threshold = self.stop.residual_threshold;
        (self.stop.stop_on_duplicate_support && !found_new) || (threshold > 0.0 && left < threshold)
    }

    /// Codes of `[rows, d_in]` by operations that carry gradients to values and residuals; which
    /// latents are chosen is taken as given.
    fn pursue_tracked(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, _) = x.dims2()?;
        let d_sae = self.spec.d_sae;
        let mut residual = x.clone();
        let mut acts = Tensor::zeros((rows, d_sae), x.dtype(), x.device())?;
        let mut open = vec![true; rows];
        let mut seen: Vec<Vec<u32>> = vec![Vec::new(); rows];
        for _ in 0..self.max_iterations() {
            if open.iter().all(|open| !open) {
                break;
            }
            let best = self.best(&residual.detach())?;
            // (Where nothing fits, the first latent does as well as any: its value is 0.)
            let best: Vec<u32> = best.into_iter().map(Option::unwrap_or_default).collect();
            let index = Tensor::new(best.as_slice(), x.device())?;
            let directions = self.w_dec.index_select(&index, 0)?;
            let mask: Vec<f32> = open.iter().map(|open| f32::from(u8::from(*open))).collect();
            let mask = Tensor::from_vec(mask, (rows, 1), x.device())?;
            let value = relu(&(&residual * &directions)?.sum_keepdim(D::Minus1)?)?;
            let value = (value * mask)?;
            let one_hot = one_hot(&best, d_sae, x)?;
            acts = (acts + one_hot.broadcast_mul(&value)?)?;
            residual = (residual - directions.broadcast_mul(&value)?)?;
            let left = residual.detach().sqr()?.sum(D::Minus1)?.sqrt()?.to_vec1::<f32>()?;
            let values = value.detach().flatten_all()?.to_vec1::<f32>()?;
            for row in 0..rows {
                let found_new = values[row] > 0.0 && !seen[row].contains(&best[row]);
                if found_new {
                    seen[row].push(best[row]);
                }
                open[row] &= !self.done(found_new, f64::from(left[row]));
            }
        }
        Ok(acts)
    }
}

fn one_hot(indices: &[u32], width: usize, like: &Tensor) -> Result<Tensor> {
    let mut values = vec![0f32; indices.len() * width];
    for (row, index) in values.chunks_exact_mut(width).zip(indices) {
        row[*index as usize] = 1.0;
    }
    let one_hot = Tensor::from_vec(values, (indices.len(), width), like.device())?;
    Ok(one_hot.to_dtype(like.dtype())?)
}

impl Sae for PursuitSae {
    fn spec(&self) -> &SaeSpec {
        &self.spec
    }

    fn decoder(&self) -> &Tensor {
        &self.w_dec
    }

    fn encode_with(&self, x: &Tensor, probe: &mut dyn Probe) -> Result<(Tensor, Frame)> {
        let (x, frame) = self.prepare(x, probe)?;
        let rows = as_rows(&x)?;
        let acts = match x.track_op() {
            true => self.pursue_tracked(&rows)?,
            false => self.codes(&rows)?.to_dense()?,
        };
        Ok((probe.at(SaeSite::ActsPost, frame.lead(acts)?)?, frame))
    }

    fn decode_with(&self, acts: &Tensor, frame: &Frame, probe: &mut dyn Probe) -> Result<Tensor> {
        require_latents(&self.spec, acts)?;
        let recons = probe.at(SaeSite::Recons, linear(acts, &self.w_dec, self.bias())?)?;
        frame.unflatten(&frame.restore(&recons)?)
    }

    fn encode_sparse(&self, x: &Tensor) -> Result<(Codes, Frame)> {
        let (x, frame) = self.prepare(x, &mut ())?;
        Ok((self.codes(&as_rows(&x)?)?, frame))
    }

    fn decode_sparse(&self, codes: &Codes, frame: &Frame) -> Result<Tensor> {
        decode_codes(codes, &self.w_dec, self.bias(), frame)
    }

    fn tensors(&self) -> Vec<(Cow<'static, str>, Tensor)> {
        vec![("W_dec".into(), self.w_dec.clone()), ("b_dec".into(), self.b_dec.clone())]
    }

    // The tied directions stay; what is left of a row shrinks by the scale.
    fn fold_activation_norm_scaling_factor(&mut self, scale: f64) -> Result<()> {
        self.b_dec = (&self.b_dec / scale)?;
        self.stop.residual_threshold /= scale;
        self.spec.architecture = Architecture::MatchingPursuit(self.stop.clone());
        self.spec.normalize_activations = Normalize::None;
        Ok(())
    }
}

impl PursuitSae {
    /// Codes of `[rows, d_in]`, latents in order of their index.
    fn codes(&self, x: &Tensor) -> Result<Codes> {
        let plain = |x: &Tensor| x.detach().to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let (x, w_dec) = (plain(x)?, plain(&self.w_dec)?);
        Ok(gather(&pursue(&x, &w_dec, self.spec.d_in, &self.stop), self.spec.d_sae))
    }
}
