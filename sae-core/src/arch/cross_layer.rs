//! Cross-layer transcoders: latents that read one layer, and write to it and to every layer after it.
//!
//! "Circuit Tracing" (Anthropic, 2025), in the form of circuit-tracer's `CrossLayerTranscoder`.

use candle_core::Tensor;

use super::build::{InMemory, build};
use crate::ops::{decode_rows, encode_above, linear};
use crate::sae::{Architecture, Codes, Sae, SaeSpec, Transcoder};
use crate::{Error, Result};

/// The weights of one layer.
#[derive(Clone, Debug)]
pub struct CrossLayer {
    /// `[d_model, d_sae]`
    pub w_enc: Tensor,
    /// `[d_sae]`
    pub b_enc: Tensor,
    /// `[d_sae]`: pre-activations above it stay (JumpReLU); without it those above 0 (ReLU).
    pub threshold: Option<Tensor>,
    /// `[d_sae, n_layers - layer, d_model]`: what latents write to this layer and to those after it.
    pub w_dec: Tensor,
    /// `[d_model]`, of what is written to this layer.
    pub b_dec: Tensor,
    /// `[d_model, d_model]`: `x W_skip` is added to what is written to this layer.
    pub w_skip: Option<Tensor>,
}

/// A transcoder of all layers of a model together.
#[derive(Clone, Debug)]
pub struct CrossLayerTranscoder {
    layers: Vec<CrossLayer>,
    /// For each layer and each layer that it writes to, `[d_sae, d_model]`.
    decoders: Vec<Vec<Tensor>>,
    d_model: usize,
}

impl CrossLayerTranscoder {
    /// From the weights of the layers, the first layer first.
    ///
    /// # Errors
    /// No layers, or a tensor of another shape than its layer asks for.
    pub fn new(layers: Vec<CrossLayer>) -> Result<Self> {
        let n_layers = layers.len();
        let Some(first) = layers.first() else { return Err(wrong_layers(0, "at least one")) };
        let d_model = first.b_dec.elem_count();
        let mut decoders = Vec::with_capacity(n_layers);
        for (i, layer) in layers.iter().enumerate() {
            let (d_sae, targets) = (layer.b_enc.elem_count(), n_layers - i);
            require("W_enc of a layer", &layer.w_enc, &[d_model, d_sae])?;
            require("b_enc of a layer", &layer.b_enc, &[d_sae])?;
            require("W_dec of a layer", &layer.w_dec, &[d_sae, targets, d_model])?;
            require("b_dec of a layer", &layer.b_dec, &[d_model])?;
            if let Some(threshold) = &layer.threshold {
                require("the thresholds of a layer", threshold, &[d_sae])?;
            }
            if let Some(w_skip) = &layer.w_skip {
                require("W_skip of a layer", w_skip, &[d_model, d_model])?;
            }
            let to = |target| Ok(layer.w_dec.narrow(1, target, 1)?.squeeze(1)?.contiguous()?);
            decoders.push((0..targets).map(to).collect::<Result<_>>()?);
        }
        Ok(Self { layers, decoders, d_model })
    }

    /// How many layers there are.
    pub fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// Width of what is read and written.
    pub fn d_model(&self) -> usize {
        self.d_model
    }

    /// What the latents of `layer` write to layer `target`, `[d_sae, d_model]`; `None` if they come after
    /// it, or if there is no such layer.
    pub fn decoder(&self, layer: usize, target: usize) -> Option<&Tensor> {
        self.decoders.get(layer)?.get(target.checked_sub(layer)?)
    }

    /// The latents of one layer: `[rows, d_model]` -> codes.
    ///
    /// # Errors
    /// No such layer, or another width than `d_model`.
    pub fn encode_layer(&self, layer: usize, x: &Tensor) -> Result<Codes> {
        let CrossLayer { w_enc, b_enc, threshold, .. } = self.layer(layer)?;
        encode_above(x, w_enc, b_enc, threshold.as_ref())
    }

    /// The latents of all layers, given what each reads, `[rows, d_model]`.
    ///
    /// # Errors
    /// Another number of layers, or another width than `d_model`.
    pub fn encode(&self, x: &[Tensor]) -> Result<Vec<Codes>> {
        self.require_layers(x.len())?;
        x.iter().enumerate().map(|(layer, x)| self.encode_layer(layer, x)).collect()
    }

    /// What is written to layer `target`, `[rows, d_model]`: by the latents of that layer and of all
    /// before it, with that layer's bias, and `x W_skip` of what it read where it has a skip path.
    ///
    /// # Errors
    /// No such layer, codes of another number of layers, or a skip path and no `x`.
    pub fn decode_layer(
        &self,
        target: usize,
        codes: &[Codes],
        x: Option<&Tensor>,
    ) -> Result<Tensor> {
        let layer = self.layer(target)?;
        self.require_layers(codes.len())?;
        let to_target = |source: usize| &self.decoders[source][target - source];
        let zero = layer.b_dec.zeros_like()?;
        let mut sum = decode_rows(&codes[0], to_target(0), &layer.b_dec)?;
        for (source, codes) in codes.iter().enumerate().take(target + 1).skip(1) {
            sum = (sum + decode_rows(codes, to_target(source), &zero)?)?;
        }
        match (&layer.w_skip, x) {
            (None, _) => Ok(sum),
            (Some(w_skip), Some(x)) => Ok((sum + linear(x, w_skip, None)?)?),
            (Some(_), None) => Err(Error::InputShape {
                what: "what a layer with a skip path read",
                got: Vec::new(),
                want: format!("[rows, {}]", self.d_model),
            }),
        }
    }

    /// What is written to every layer, given what each reads: `[rows, d_model]` for each.
    ///
    /// # Errors
    /// As [`CrossLayerTranscoder::encode`].
    pub fn reconstruct(&self, x: &[Tensor]) -> Result<Vec<Tensor>> {
        let codes = self.encode(x)?;
        x.iter().enumerate().map(|(target, x)| self.decode_layer(target, &codes, Some(x))).collect()
    }

    /// One layer as a transcoder that writes, to its own layer, the sum of what it writes to all: the form
    /// in which SAELens loads it. Good for what its latents do, not for its outputs.
    ///
    /// # Errors
    /// No such layer.
    pub fn summed(&self, layer: usize) -> Result<Box<dyn Sae>> {
        let weights = self.layer(layer)?;
        let architecture = match weights.threshold {
            Some(_) => Architecture::JumpRelu,
            None => Architecture::Standard { tanh: false },
        };
        let mut spec = SaeSpec::new(architecture, self.d_model, weights.b_enc.elem_count());
        spec.apply_b_dec_to_input = false;
        let skip = weights.w_skip.is_some();
        spec.transcoder = Some(Transcoder { d_out: self.d_model, skip });
        let mut tensors = vec![
            ("W_enc".into(), weights.w_enc.clone()),
            ("b_enc".into(), weights.b_enc.clone()),
            ("W_dec".into(), weights.w_dec.sum(1)?),
            ("b_dec".into(), weights.b_dec.clone()),
        ];
        tensors.extend(weights.threshold.iter().map(|t| ("threshold".into(), t.clone())));
        if let Some(w_skip) = &weights.w_skip {
            tensors.push(("W_skip".into(), w_skip.t()?.contiguous()?));
        }
        build(spec, &mut InMemory(tensors))
    }

    fn layer(&self, layer: usize) -> Result<&CrossLayer> {
        let n_layers = u16::try_from(self.layers.len()).unwrap_or(u16::MAX);
        let named = i32::try_from(layer).unwrap_or(i32::MAX);
        self.layers.get(layer).ok_or(Error::LayerOutOfRange { layer: named, n_layers })
    }

    fn require_layers(&self, got: usize) -> Result<()> {
        let n_layers = self.layers.len();
        if got == n_layers { Ok(()) } else { Err(wrong_layers(got, &n_layers.to_string())) }
    }
}

fn wrong_layers(got: usize, want: &str) -> Error {
    let what = "the layers of a cross-layer transcoder";
    Error::InputShape { what, got: vec![got], want: want.to_owned() }
}

fn require(what: &'static str, x: &Tensor, want: &[usize]) -> Result<()> {
    if x.dims() == want {
        return Ok(());
    }
    Err(Error::InputShape { what, got: x.dims().to_vec(), want: format!("{want:?}") })
}
