//! Models of a given shape with random weights: for tests of structure and for benches.

use candle_core::{Device, Tensor};
use sae_core::model::ModelSpec;
use sae_core::ops::{Activation, Centre, Linear};

use crate::config::{DecoderConfig, LayerAttention};
use crate::decoder::Decoder;
use crate::embed::Embed;
use crate::processing::{Processing, process};
use crate::unembed::Unembed;
use crate::weights::{Block, Mlp, NormWeights, Weights};
use crate::{Flags, Result};

impl Decoder {
    /// A GPT-2-family model of this shape with normally distributed weights, tied embeddings, gains
    /// near one and small biases.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn random_gpt2(spec: ModelSpec, processing: Processing) -> Result<Self> {
        let (d, m, heads) = (spec.d_model, spec.d_mlp, spec.n_heads * spec.d_head);
        let mut blocks = Vec::new();
        for _ in 0..spec.n_layers {
            blocks.push(Block {
                ln1: norm(d)?,
                qkv: linear(d, 3 * heads)?,
                qk_norms: None,
                attn_out: linear(heads, d)?,
                ln1_post: None,
                ln2: norm(d)?,
                mlp: Mlp { gate: None, input: linear(d, m)?, output: linear(m, d)? },
                ln2_post: None,
            });
        }
        let tokens = normal(0.0, 1.0, &[spec.d_vocab, d])?;
        let unembed = Unembed::new(tokens.clone(), affine(d)?, None);
        let positions = Some(normal(0.0, 0.5, &[spec.n_ctx, d])?);
        let mut weights = Weights { embed: Embed::new(tokens, positions, None), blocks, unembed };
        #[allow(clippy::cast_precision_loss)]
        let scale = (spec.d_head as f64).sqrt();
        let layer = LayerAttention { scale, window: None, rotation: 0 };
        let attention = vec![layer; usize::from(spec.n_layers)];
        let norm = (Centre::Mean, 1e-5);
        let config = DecoderConfig::new(spec, norm, Activation::GeluTanh, attention);
        process(&mut weights, &config, processing)?;
        Ok(Self::new(config, weights, processing).with_flags(Flags::default())?)
    }
}

fn normal(mean: f32, std: f32, shape: &[usize]) -> Result<Tensor> {
    Ok(Tensor::randn(mean, std, shape, &Device::Cpu)?)
}

fn affine(d: usize) -> Result<(Tensor, Option<Tensor>)> {
    Ok((normal(1.0, 0.1, &[d])?, Some(normal(0.0, 0.1, &[d])?)))
}

fn norm(d: usize) -> Result<NormWeights> {
    let (gain, bias) = affine(d)?;
    Ok(NormWeights::Affine { gain, bias })
}

/// Weights that keep the size of what they multiply.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn linear(d_in: usize, d_out: usize) -> Result<Linear> {
    let std = 1.0 / (d_in as f32).sqrt();
    Ok(Linear::new(normal(0.0, std, &[d_in, d_out])?, Some(normal(0.0, 0.1, &[d_out])?))?)
}
