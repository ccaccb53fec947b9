//! Temporal (arXiv 2511.01836): attention over earlier positions predicts latents; what it does not
//! predict becomes new latents.

use std::borrow::Cow;

use candle_core::{D, Tensor};

use super::WeightSource;
use super::shared::{as_rows, decode_codes, require_latents};
use crate::hook::SaeSite;
use crate::ops::{encode_above, encode_top_k, keep_top_k, linear, relu, softmax};
use crate::sae::{Codes, Frame, Probe, Sae, SaeSpec, Temporal};
use crate::{Error, Result};

/// Added to the norm of a prediction before dividing by it.
const EPS: f64 = 1e-6;

/// Reads `[batch, pos, d_in]`: latents of a position depend on the positions before it.
#[derive(Clone, Debug)]
pub struct TemporalSae {
    spec: SaeSpec,
    temporal: Temporal,
    /// `[d_in, d_sae]`; `None` while it is the transpose of `W_dec`.
    w_enc: Option<Tensor>,
    /// `[d_sae, d_in]`
    w_dec: Tensor,
    /// `[d_in]`
    b_dec: Tensor,
    layers: Vec<Layer>,
}

/// One attention layer: maps stored `[d_out, d_in]`, with biases where there are any.
#[derive(Clone, Debug)]
struct Layer {
    q: Map,
    k: Map,
    v: Map,
    out: Map,
}

#[derive(Clone, Debug)]
struct Map {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Map {
    fn take(source: &mut dyn WeightSource, name: &str, shape: [usize; 2]) -> Result<Self> {
        let weight = source.take(&format!("{name}.weight"), &shape)?;
        let bias = source.take_if_there(&format!("{name}.bias"), &shape[..1])?;
        Ok(Self { weight, bias })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight.t()?, self.bias.as_ref())
    }
}

impl Layer {
    const MAPS: [&'static str; 4] = ["q_target", "k_ctx", "v_ctx", "c_proj"];

    fn maps(&self) -> [&Map; 4] {
        [&self.q, &self.k, &self.v, &self.out]
    }
}

impl TemporalSae {
    pub(super) fn build(
        spec: SaeSpec,
        temporal: Temporal,
        source: &mut dyn WeightSource,
    ) -> Result<Self> {
        let (d_in, d_sae) = (spec.d_in, spec.d_sae);
        let narrow = d_sae / temporal.bottleneck_factor.max(1);
        let w_enc = match temporal.tied_weights {
            true => None,
            false => Some(source.take("W_enc", &[d_in, d_sae])?),
        };
        let layers = (0..temporal.n_attn_layers).map(|layer| {
            let mut map = |name: usize, rows: usize| {
                let name = format!("attn_layers.{layer}.{}", Layer::MAPS[name]);
                Map::take(source, &name, [rows, d_sae])
            };
            Ok(Layer {
                q: map(0, narrow)?,
                k: map(1, narrow)?,
                v: map(2, d_sae)?,
                out: map(3, d_sae)?,
            })
        });
        let layers = layers.collect::<Result<_>>()?;
        let w_dec = source.take("W_dec", &[d_sae, d_in])?;
        let b_dec = source.take("b_dec", &[d_in])?;
        Ok(Self { spec, temporal, w_enc, w_dec, b_dec, layers })
    }

    /// `[d_in, d_sae]`
    fn encoder(&self) -> Result<Tensor> {
        Ok(match &self.w_enc {
            Some(w_enc) => w_enc.clone(),
            None => self.w_dec.t()?,
        })
    }

    /// `x / (4 d_in)`: what the encoder reads.
    fn scaled(&self, x: &Tensor) -> Result<Tensor> {
        #[allow(clippy::cast_precision_loss)]
        let scale = 1.0 / (4.0 * self.spec.d_in as f64);
        Ok((x * scale)?)
    }

    /// `x W_enc / (4 d_in)`
    fn project(&self, x: &Tensor) -> Result<Tensor> {
        linear(&self.scaled(x)?, &self.encoder()?, None)
    }

    /// What attention to earlier positions leaves of the input, `[batch, pos, d_in]`; the rest of it is
    /// in the frame.
    fn novel(&self, x: &Tensor, probe: &mut dyn Probe) -> Result<(Tensor, Frame)> {
        let (x, frame) = Frame::flatten(&self.spec, &x.to_dtype(self.w_dec.dtype())?)?;
        if x.rank() != 3 {
            return Err(Error::InputShape {
                what: "the input of a temporal SAE",
                got: x.dims().to_vec(),
                want: format!("[batch, pos, {}]", self.spec.d_in),
            });
        }
        let x = probe.at(SaeSite::Input, x)?;
        let (x, frame) = frame.normalize(&self.spec, &x)?;
        let centred = self.spec.apply_b_dec_to_input;
        let x = if centred { x.broadcast_sub(&self.b_dec)? } else { x };
        let (predicted, residual) = self.predict(&x)?;
        Ok((residual, frame.predicting(predicted)))
    }

    /// How many latents are kept, where that is limited.
    fn kept(&self) -> Option<usize> {
        self.temporal.kval_topk.filter(|_| self.temporal.top_k)
    }

    fn bias(&self) -> Option<&Tensor> {
        let biased = !self.temporal.tied_weights || self.spec.apply_b_dec_to_input;
        biased.then_some(&self.b_dec)
    }

    /// `[batch, pos, d_sae]`: what attention to earlier positions makes of them.
    fn attend(&self, layer: &Layer, z: &Tensor) -> Result<Tensor> {
        let (batch, pos, _) = z.dims3()?;
        let first = z.narrow(1, 0, 1)?.zeros_like()?;
        let context = match pos {
            1 => first,
            _ => Tensor::cat(&[&first, &z.narrow(1, 0, pos - 1)?], 1)?,
        };
        let heads = self.temporal.n_heads;
        let apart = |x: Tensor| -> Result<Tensor> {
            let width = x.dim(2)? / heads.max(1);
            Ok(x.reshape((batch, pos, heads, width))?.transpose(1, 2)?.contiguous()?)
        };
        let (q, k) = (apart(layer.q.forward(z)?)?, apart(layer.k.forward(&context)?)?);
        let v = apart(layer.v.forward(&context)?)?;
        #[allow(clippy::cast_precision_loss)]
        let scale = (q.dim(D::Minus1)? as f64).sqrt();
        let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / scale)?;
        let pattern = softmax(&scores.broadcast_add(&causal(pos, z)?)?)?;
        let mixed = pattern.matmul(&v)?.transpose(1, 2)?.contiguous()?.flatten_from(2)?;
        relu(&layer.out.forward(&mixed)?)
    }

    /// What is predicted of `x`, and what is left of it: `[batch, pos, d_in]`.
    fn predict(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (mut residual, mut predicted) = (x.clone(), x.zeros_like()?);
        for layer in &self.layers {
            let z = relu(&self.project(&residual)?)?;
            let direction = linear(&self.attend(layer, &z)?, &self.w_dec, None)?;
            let along = (&direction * &residual)?.sum_keepdim(D::Minus1)?;
            let norm = (direction.sqr()?.sum_keepdim(D::Minus1)?.sqrt()? + EPS)?;
            let explained = direction.broadcast_mul(&(along / norm.sqr()?)?)?;
            residual = (residual - &explained)?;
            predicted = (predicted + explained)?;
        }
        Ok((predicted, residual))
    }
}

/// `[1, 1, pos, pos]`: minus infinity above the diagonal.
fn causal(pos: usize, like: &Tensor) -> Result<Tensor> {
    let value = |i: usize| if i % pos > i / pos { f32::NEG_INFINITY } else { 0.0 };
    let mask: Vec<f32> = (0..pos * pos).map(value).collect();
    Ok(Tensor::from_vec(mask, (1, 1, pos, pos), like.device())?.to_dtype(like.dtype())?)
}

impl Sae for TemporalSae {
    fn spec(&self) -> &SaeSpec {
        &self.spec
    }

    fn decoder(&self) -> &Tensor {
        &self.w_dec
    }

    fn encode_with(&self, x: &Tensor, probe: &mut dyn Probe) -> Result<(Tensor, Frame)> {
        let (novel, frame) = self.novel(x, probe)?;
        let pre = probe.at(SaeSite::ActsPre, self.project(&novel)?)?;
        let acts = match self.kept() {
            Some(k) => keep_top_k(&pre, k)?,
            None => relu(&pre)?,
        };
        Ok((probe.at(SaeSite::ActsPost, acts)?, frame))
    }

    fn decode_with(&self, acts: &Tensor, frame: &Frame, probe: &mut dyn Probe) -> Result<Tensor> {
        require_latents(&self.spec, acts)?;
        let recons = frame.with_predicted(linear(acts, &self.w_dec, self.bias())?)?;
        let recons = probe.at(SaeSite::Recons, recons)?;
        frame.unflatten(&frame.restore(&recons)?)
    }

    fn encode_sparse(&self, x: &Tensor) -> Result<(Codes, Frame)> {
        let (novel, frame) = self.novel(x, &mut ())?;
        let rows = as_rows(&self.scaled(&novel)?)?;
        let w_enc = self.encoder()?;
        let no_bias = Tensor::zeros(self.spec.d_sae, w_enc.dtype(), w_enc.device())?;
        let codes = match self.kept() {
            Some(k) => encode_top_k(&rows, &w_enc, &no_bias, None, k)?,
            None => encode_above(&rows, &w_enc, &no_bias, None)?,
        };
        Ok((codes, frame))
    }

    fn decode_sparse(&self, codes: &Codes, frame: &Frame) -> Result<Tensor> {
        decode_codes(codes, &self.w_dec, self.bias(), frame)
    }

    fn tensors(&self) -> Vec<(Cow<'static, str>, Tensor)> {
        let mut all: Vec<(Cow<'static, str>, Tensor)> =
            vec![("W_dec".into(), self.w_dec.clone()), ("b_dec".into(), self.b_dec.clone())];
        all.extend(self.w_enc.iter().map(|w_enc| ("W_enc".into(), w_enc.clone())));
        for (layer, maps) in self.layers.iter().enumerate() {
            for (name, map) in Layer::MAPS.iter().zip(maps.maps()) {
                let name = |rest: &str| Cow::Owned(format!("attn_layers.{layer}.{name}.{rest}"));
                all.push((name("weight"), map.weight.clone()));
                all.extend(map.bias.iter().map(|bias| (name("bias"), bias.clone())));
            }
        }
        all
    }
}
