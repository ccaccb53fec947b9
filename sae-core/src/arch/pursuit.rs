//! Matching pursuit: latents chosen one after another, each by what the ones before have left.

use std::borrow::Cow;

use candle_core::{D, DType, Tensor};
use rayon::prelude::*;

use super::WeightSource;
use crate::Result;
use crate::hook::SaeSite;
use crate::ops::{linear, relu, vector};
use crate::sae::{Architecture, Codes, Frame, MatchingPursuit, Normalize, Probe, Sae, SaeSpec};

/// Rows whose choices are made by one matrix product.
const ROWS: usize = 256;

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

    /// The latent that fits each row best, the lowest where several do: `[rows, d_in] -> [rows]`.
    fn best(&self, residual: &Tensor) -> Result<Vec<u32>> {
        let fits = relu(&linear(residual, &self.w_dec.t()?, None)?)?;
        Ok(fits.argmax(D::Minus1)?.to_vec1::<u32>()?)
    }

    /// Whether a row is done after an iteration that did or did not find a new latent.
    fn done(&self, found_new: bool, left: f64) -> bool {
        let threshold = self.stop.residual_threshold;
        (self.stop.stop_on_duplicate_support && !found_new) || (threshold > 0.0 && left < threshold)
    }

    /// Codes of some rows, `[rows, d_in]`, in order of their first being chosen.
    fn pursue(&self, x: &Tensor) -> Result<Vec<Vec<(u32, f32)>>> {
        let (rows, d_in) = x.dims2()?;
        let w_dec = self.w_dec.flatten_all()?.to_vec1::<f32>()?;
        let mut residuals = x.to_vec2::<f32>()?;
        let mut chosen: Vec<Vec<(u32, f32)>> = vec![Vec::new(); rows];
        let mut open: Vec<usize> = (0..rows).collect();
        for _ in 0..self.max_iterations() {
            if open.is_empty() {
                break;
            }
            let flat: Vec<f32> = open.iter().flat_map(|row| residuals[*row].clone()).collect();
            let stacked = Tensor::from_vec(flat, (open.len(), d_in), x.device())?;
            let best = self.best(&stacked)?;
            let mut still_open = Vec::new();
            for (row, latent) in open.iter().zip(best) {
                let direction = &w_dec[latent as usize * d_in..][..d_in];
                let residual = &mut residuals[*row];
                let value = vector::dot(residual, direction).max(0.0);
                let found_new = add(&mut chosen[*row], latent, value);
                residual.iter_mut().zip(direction).for_each(|(r, w)| *r -= value * w);
                let left = residual.iter().map(|r| f64::from(*r).powi(2)).sum::<f64>().sqrt();
                if !self.done(found_new, left) {
                    still_open.push(*row);
                }
            }
            open = still_open;
        }
        Ok(chosen)
    }

    /// The same by operations that carry gradients to values and residuals; which latents are
    /// chosen is taken as given.
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

/// Add to a latent's value; whether it was zero before and is not now.
fn add(codes: &mut Vec<(u32, f32)>, latent: u32, value: f32) -> bool {
    if value == 0.0 {
        return false;
    }
    match codes.iter_mut().find(|(index, _)| *index == latent) {
        Some((_, sum)) => {
            *sum += value;
            false
        }
        None => {
            codes.push((latent, value));
            true
        }
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
        let mut shape = x.dims().to_vec();
        let d_in = shape.pop().unwrap_or_default();
        let rows = x.elem_count() / d_in.max(1);
        shape.push(self.spec.d_sae);
        let flat = x.reshape((rows, d_in))?;
        let acts = if x.track_op() {
            self.pursue_tracked(&flat)?
        } else {
            self.codes(&flat)?.to_dense()?
        };
        Ok((probe.at(SaeSite::ActsPost, acts.reshape(shape)?)?, frame))
    }

    fn decode_with(&self, acts: &Tensor, frame: &Frame, probe: &mut dyn Probe) -> Result<Tensor> {
        let bias = self.spec.apply_b_dec_to_input.then_some(&self.b_dec);
        let recons = probe.at(SaeSite::Recons, linear(acts, &self.w_dec, bias)?)?;
        frame.unflatten(&frame.restore(&recons)?)
    }

    fn encode_sparse(&self, x: &Tensor) -> Result<(Codes, Frame)> {
        let (x, frame) = self.prepare(x, &mut ())?;
        let rows = x.elem_count() / self.spec.d_in.max(1);
        Ok((self.codes(&x.reshape((rows, self.spec.d_in))?)?, frame))
    }

    fn tensors(&self) -> Vec<(Cow<'static, str>, Tensor)> {
        vec![("W_dec".into(), self.w_dec.clone()), ("b_dec".into(), self.b_dec.clone())]
    }

    // The tied directions have norm one and stay; what is left of a row shrinks by the scale.
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
        let x = x.detach().to_dtype(DType::F32)?.contiguous()?;
        let (rows, _) = x.dims2()?;
        let starts: Vec<usize> = (0..rows).step_by(ROWS).collect();
        let parts: Vec<Vec<Vec<(u32, f32)>>> = starts
            .into_par_iter()
            .map(|from| self.pursue(&x.narrow(0, from, ROWS.min(rows - from))?))
            .collect::<Result<_>>()?;
        let mut all: Vec<Vec<(u32, f32)>> = parts.into_iter().flatten().collect();
        all.iter_mut().for_each(|row| row.sort_unstable_by_key(|(latent, _)| *latent));
        Ok(Codes::from_rows(self.spec.d_sae, &all))
    }
}
