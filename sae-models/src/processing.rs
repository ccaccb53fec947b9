//! Weight processing: TransformerLens' four simplifications, which keep what the model computes.

use candle_core::{D, DType, Tensor};
use sae_core::model::ModelSpec;
use sae_core::ops::{Centre, Linear, linear};

use crate::Result;
use crate::config::DecoderConfig;
use crate::heads::repeat_heads;
use crate::means::mean_of_rows;
use crate::weights::{Block, NormWeights, Weights};

/// Which simplifications to make (TransformerLens, `from_pretrained`), in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processing {
    /// Fold gain and bias of each norm into the maps that read it, and centre those over `d_model`.
    pub fold_ln: bool,
    /// Centre over `d_model` everything that writes to the residual stream (LayerNorm models only).
    pub center_writing_weights: bool,
    /// Centre the unembedding over the vocabulary.
    pub center_unembed: bool,
    /// Move `b_V` through `W_O` into `b_O`.
    pub fold_value_biases: bool,
}

impl Processing {
    /// None: the weights as published (`from_pretrained_no_processing`).
    pub const NONE: Self = Self {
        fold_ln: false,
        center_writing_weights: false,
        center_unembed: false,
        fold_value_biases: false,
    };
    /// All four: what TransformerLens' `from_pretrained` does.
    pub const DEFAULT: Self = Self {
        fold_ln: true,
        center_writing_weights: true,
        center_unembed: true,
        fold_value_biases: true,
    };
}

impl Processing {
    /// Those that keep what the model computes. Where positions are added behind a norm
    /// (Shortformer) what the norm's readers get has no mean of zero: nothing is folded or centred.
    pub(crate) fn possible(self, config: &DecoderConfig) -> Self {
        match config.shortformer {
            true => Self { fold_value_biases: self.fold_value_biases, ..Self::NONE },
            false => self,
        }
    }
}

impl Default for Processing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Make the simplifications.
pub(crate) fn process(
    weights: &mut Weights,
    config: &DecoderConfig,
    how: Processing,
) -> Result<()> {
    let norm = config.norm;
    let how = how.possible(config);
    let centre_writing =
        how.center_writing_weights && norm == Centre::Mean && config.final_norm == Centre::Mean;
    for block in &mut weights.blocks {
        if how.fold_ln {
            let ln1 = std::mem::take(&mut block.ln1);
            block.qkv = fold_norm(&ln1, &block.qkv, norm)?;
            let ln2 = std::mem::take(&mut block.ln2);
            if let Some(mlp) = &mut block.mlp {
                mlp.input = fold_norm(&ln2, &mlp.input, norm)?;
                if let Some(gate) = &mlp.gate {
                    mlp.gate = Some(fold_norm(&ln2, gate, Centre::Zero)?);
                }
                if let Some(inner) = mlp.norm.replace(NormWeights::Folded) {
                    mlp.output = fold_norm(&inner, &mlp.output, norm)?;
                }
            }
        }
        if centre_writing {
            block.attn_out = centre_writer(&block.attn_out)?;
            if let Some(mlp) = &mut block.mlp {
                mlp.output = centre_writer(&mlp.output)?;
            }
        }
        if how.fold_value_biases {
            fold_value_biases(block, &config.spec)?;
        }
    }
    if centre_writing {
        weights.embed.centre_tokens = true;
        let positions = weights.embed.positions.as_ref().map(centre_last).transpose()?;
        weights.embed.positions = positions;
    }
    if how.fold_ln {
        weights.unembed.centre_input = config.final_norm == Centre::Mean;
        weights.unembed.folded = true;
    }
    if how.center_unembed && config.logit_cap.is_none() {
        weights.unembed.centre_vocabulary()?;
    }
    Ok(())
}

/// `W' = diag(gain) W`, `b' = b + bias W`; with LayerNorm `W'` is then centred over its input axis,
/// since what it reads has mean zero. The norm keeps no parameters.
fn fold_norm(norm: &NormWeights, reader: &Linear, centre: Centre) -> Result<Linear> {
    let NormWeights::Affine { gain, bias } = norm else {
        return Ok(reader.clone());
    };
    let w = &reader.weight().to_dtype(DType::F32)?;
    let shift = match bias {
        Some(bias) => Some(linear(&bias.unsqueeze(0)?, w, None)?.squeeze(0)?),
        None => None,
    };
    let b = match (reader.bias(), shift) {
        (Some(b), Some(shift)) => Some((b + shift)?),
        (b, shift) => shift.or_else(|| b.cloned()),
    };
    let by_input = || w.broadcast_mul(&gain.unsqueeze(1)?);
    // A map that is stored by output stays so: decoding reads it along its inputs.
    let by_output = || w.t()?.broadcast_mul(gain);
    let w = match (w.stride()[0], centre) {
        (1, Centre::Mean) => centre_last(&by_output()?)?.t()?,
        (1, Centre::Zero) => by_output()?.t()?,
        (_, Centre::Mean) => {
            let w = by_input()?;
            w.broadcast_sub(&mean_of_rows(&w)?)?
        }
        (_, Centre::Zero) => by_input()?,
    };
    Ok(Linear::new(w.to_dtype(reader.weight().dtype())?, b)?)
}

/// A map into the residual stream, centred over `d_model`.
fn centre_writer(writer: &Linear) -> Result<Linear> {
    let bias = writer.bias().map(centre_last).transpose()?;
    let w = centre_last(&writer.weight().to_dtype(DType::F32)?)?;
    Ok(Linear::new(w.to_dtype(writer.weight().dtype())?, bias)?)
}

fn centre_last(x: &Tensor) -> Result<Tensor> {
    Ok(x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?)
}

/// `b_O += b_V W_O`, `b_V = 0`: valid because each row of an attention pattern sums to one.
fn fold_value_biases(block: &mut Block, spec: &ModelSpec) -> Result<()> {
    let Some(bias) = block.qkv.bias() else { return Ok(()) };
    let (stored, d_head) = (spec.n_key_value_heads, spec.d_head);
    let first = bias.elem_count() - stored * d_head;
    let b_v = bias.narrow(0, first, stored * d_head)?;
    // Heads that share values share their bias.
    let per_head = repeat_heads(&b_v.reshape((1, 1, stored, d_head))?, spec.n_heads)?;
    let moved = linear(&per_head.flatten_all()?.unsqueeze(0)?, block.attn_out.weight(), None)?;
    let moved = moved.squeeze(0)?;
    let b_o = match block.attn_out.bias() {
        Some(b) => (b + moved)?,
        None => moved,
    };
    let rest = bias.narrow(0, 0, first)?;
    let bias = Tensor::cat(&[&rest, &b_v.zeros_like()?], 0)?;
    block.qkv = Linear::new(block.qkv.weight().clone(), Some(bias))?;
    block.attn_out = Linear::new(block.attn_out.weight().clone(), Some(b_o))?;
    Ok(())
}
