//! Weight processing: TransformerLens' four simplifications, which keep what the model computes.

use candle_core::Tensor;
use sae_core::model::ModelSpec;
use sae_core::ops::Centre;

use crate::Result;
use crate::config::DecoderConfig;
use crate::heads::repeat_heads;
use crate::linear::centre_last;
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
            block.qkv = block.qkv.after_norm(&ln1, norm)?;
            let ln2 = std::mem::take(&mut block.ln2);
            if let Some(mlp) = &mut block.mlp {
                mlp.input = mlp.input.after_norm(&ln2, norm)?;
                if let Some(gate) = &mlp.gate {
                    mlp.gate = Some(gate.after_norm(&ln2, Centre::Zero)?);
                }
                if let Some(inner) = mlp.norm.replace(NormWeights::Folded) {
                    mlp.output = mlp.output.after_norm(&inner, norm)?;
                }
            }
        }
        if centre_writing {
            block.attn_out = block.attn_out.centred()?;
            if let Some(mlp) = &mut block.mlp {
                mlp.output = mlp.output.centred()?;
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

/// `b_O += b_V W_O`, `b_V = 0`: valid because each row of an attention pattern sums to one.
fn fold_value_biases(block: &mut Block, spec: &ModelSpec) -> Result<()> {
    let Some(bias) = block.qkv.bias() else { return Ok(()) };
    let (stored, d_head) = (spec.n_key_value_heads, spec.d_head);
    let first = bias.elem_count() - stored * d_head;
    let b_v = bias.narrow(0, first, stored * d_head)?;
    // Heads that share values share their bias.
    let per_head = repeat_heads(&b_v.reshape((1, 1, stored, d_head))?, spec.n_heads)?;
    let moved = block.attn_out.product(&per_head.flatten_all()?.unsqueeze(0)?)?.squeeze(0)?;
    let b_o = match block.attn_out.bias() {
        Some(b) => (b + moved)?,
        None => moved,
    };
    let rest = bias.narrow(0, 0, first)?;
    let bias = Tensor::cat(&[&rest, &b_v.zeros_like()?], 0)?;
    block.qkv = block.qkv.with_bias(bias);
    block.attn_out = block.attn_out.with_bias(b_o);
    Ok(())
}
