//! What Llama and Gemma have in common: RMS norms, gated MLPs, maps of one naming.

use sae_core::io::Fields;

use super::parts::{Bias, gain, linear, qkv, rms_norm};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::embed::Embed;
use crate::unembed::Unembed;
use crate::weights::{Block, Mlp, QkNorms, Weights};

/// What a configuration leaves to the family.
pub(super) struct Layout {
    /// Biases of queries, keys and values.
    pub(super) qkv_bias: Bias,
    /// Bias of `W_O`.
    pub(super) out_bias: Bias,
    /// Biases of the MLP's maps.
    pub(super) mlp_bias: Bias,
    /// Queries, keys and values in one map, and the two branches of the MLP in another.
    pub(super) fused: bool,
    /// Added to the stored gain of each norm.
    pub(super) gain_offset: f64,
    /// What token embeddings are multiplied by.
    pub(super) embed_scale: Option<f64>,
}

/// Weights of a model whose tensors have Llama's names, under one of `prefixes`.
pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    layout: &Layout,
    prefixes: &[&'static str],
    file: &mut Checkpoint,
) -> Result<Weights> {
    file.set_prefix(prefixes);
    let (d, d_vocab) = (config.spec.d_model, config.spec.d_vocab);
    let blocks = (0..config.spec.n_layers)
        .map(|layer| block(config, layout, layer, file))
        .collect::<Result<Vec<_>>>()?;
    let tokens = file.matrix("embed_tokens.weight", &[d_vocab, d])?;
    let tied = fields.flag("tie_word_embeddings")?;
    // Files of models that also see images put the text model's parts under a prefix.
    let outside = match file.has_outside("language_model.lm_head.weight") {
        true => "language_model.lm_head.weight",
        false => "lm_head.weight",
    };
    let table = file.unembedding(outside, tied, &tokens)?;
    let norm = gain(file, "norm", d, layout.gain_offset)?;
    let unembed = Unembed::new(table, (norm, None), None);
    Ok(Weights { embed: Embed::new(tokens, None, layout.embed_scale), blocks, unembed })
}

fn block(
    config: &DecoderConfig,
    layout: &Layout,
    layer: u16,
    file: &mut Checkpoint,
) -> Result<Block> {
    let spec = &config.spec;
    let (d, e, offset) = (spec.d_model, spec.d_head, layout.gain_offset);
    let widths = [spec.n_heads * e, spec.n_key_value_heads * e];
    let at = |rest: &str| format!("layers.{layer}.{rest}");
    let qk_norms = match config.qk_norm {
        true => Some(QkNorms {
            q: rms_norm(file, &at("self_attn.q_norm"), e, offset)?,
            k: rms_norm(file, &at("self_attn.k_norm"), e, offset)?,
        }),
        false => None,
    };
    let qkv = match layout.fused {
        true => {
            let width = widths[0] + 2 * widths[1];
            linear(file, &at("self_attn.qkv_proj"), (d, width), layout.qkv_bias)?
        }
        false => qkv(file, &at("self_attn."), d, widths, layout.qkv_bias)?,
    };
    // With norms on both sides the second one has another name.
    let before_mlp = match config.post_norms {
        true => "pre_feedforward_layernorm",
        false => "post_attention_layernorm",
    };
    let mut post = |name: &str| match config.post_norms {
        true => rms_norm(file, &at(name), d, offset).map(Some),
        false => Ok(None),
    };
    let ln1_post = post("post_attention_layernorm")?;
    let ln2_post = post("post_feedforward_layernorm")?;
    Ok(Block {
        ln1: rms_norm(file, &at("input_layernorm"), d, offset)?,
        qkv,
        qk_norms,
        attn_out: linear(file, &at("self_attn.o_proj"), (widths[0], d), layout.out_bias)?,
        ln1_post,
        ln2: rms_norm(file, &at(before_mlp), d, offset)?,
        mlp: Some(mlp(file, &at("mlp."), (d, spec.d_mlp), layout)?),
        ln2_post,
    })
}

fn mlp(
    file: &mut Checkpoint,
    prefix: &str,
    (d, m): (usize, usize),
    layout: &Layout,
) -> Result<Mlp> {
    let output = linear(file, &format!("{prefix}down_proj"), (m, d), layout.mlp_bias)?;
    let (gate, input) = if layout.fused {
        let both = linear(file, &format!("{prefix}gate_up_proj"), (d, 2 * m), layout.mlp_bias)?;
        (both.narrow(0, m)?, both.narrow(m, m)?)
    } else {
        let gate = linear(file, &format!("{prefix}gate_proj"), (d, m), layout.mlp_bias)?;
        (gate, linear(file, &format!("{prefix}up_proj"), (d, m), layout.mlp_bias)?)
    };
    Ok(Mlp { gate: Some(gate), input, norm: None, output })
}
