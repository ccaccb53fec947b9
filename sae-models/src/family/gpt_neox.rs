//! GPT-NeoX (Pythia): rotary positions on part of each head, parallel blocks, queries, keys and
//! values interleaved head by head in one map.

use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use sae_core::ops::Centre;

use super::fields::{activation, d_head, n_layers, name, uniform};
use super::parts::{Bias, affine, layer_norm, linear};
use super::rope;
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::embed::Embed;
use crate::linear::Linear;
use crate::rotary::{Pairs, Rotary};
use crate::unembed::Unembed;
use crate::weights::{Block, Mlp, Weights};

#[allow(clippy::cast_precision_loss)]
pub(super) fn config(fields: &Fields) -> Result<DecoderConfig> {
    let d_model = fields.need_size("hidden_size")?;
    let n_heads = fields.need_size("num_attention_heads")?;
    let d_head = d_head(fields, d_model, ("num_attention_heads", n_heads))?;
    let n_layers = n_layers(fields, "num_hidden_layers")?;
    let spec = ModelSpec {
        name: name(fields, "gpt_neox")?,
        n_layers,
        d_model,
        n_heads,
        n_key_value_heads: n_heads,
        d_head,
        d_mlp: fields.need_size("intermediate_size")?,
        d_vocab: fields.need_size("vocab_size")?,
        n_ctx: fields.need_size("max_position_embeddings")?,
    };
    let attention = uniform(n_layers, (d_head as f64).sqrt());
    let activation = activation(fields, "hidden_act")?;
    let norm = (Centre::Mean, fields.number("layer_norm_eps")?.unwrap_or(1e-5));
    Ok(DecoderConfig {
        parallel: fields.flag("use_parallel_residual")?.unwrap_or(true),
        rotary: Some(rotary(fields, d_head)?),
        ..DecoderConfig::new(spec, norm, activation, attention)
    })
}

/// `rotary_pct` and `rotary_emb_base`, or what newer configurations call them.
fn rotary(fields: &Fields, d_head: usize) -> Result<Rotary> {
    let parameters = rope::parameters(fields)?;
    let either = |old: &str, new: &str| -> Result<Option<f64>> {
        Ok(match fields.number(old)? {
            Some(number) => Some(number),
            None => parameters.number(new)?,
        })
    };
    let share = either("rotary_pct", "partial_rotary_factor")?.unwrap_or(0.25);
    let n_dims = rope::partial(fields, Some(share), d_head)?;
    let base = either("rotary_emb_base", "rope_theta")?.unwrap_or(10_000.0);
    let frequencies = vec![rope::scaled(fields, rope::frequencies(fields, base, n_dims)?)?];
    Ok(Rotary { n_dims, pairs: Pairs::Halves, frequencies })
}

pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    file: &mut Checkpoint,
) -> Result<Weights> {
    file.set_prefix(&["gpt_neox."]);
    // Causal masks and frequencies that old checkpoints carry along.
    file.ignore(|name| {
        let end = name.rsplit_once("attention.").map_or("", |(_, end)| end);
        matches!(end, "bias" | "masked_bias" | "rotary_emb.inv_freq")
    });
    let spec = &config.spec;
    let (d, m) = (spec.d_model, spec.d_mlp);
    let bias = Bias::when(fields.flag("attention_bias")?.unwrap_or(true));
    let mut blocks = Vec::with_capacity(usize::from(spec.n_layers));
    for layer in 0..spec.n_layers {
        let at = |rest: &str| format!("layers.{layer}.{rest}");
        let fused = linear(file, &at("attention.query_key_value"), (d, 3 * d), bias)?;
        blocks.push(Block {
            ln1: layer_norm(file, &at("input_layernorm"), d)?,
            qkv: apart(&fused, spec)?,
            qk_norms: None,
            attn_out: linear(file, &at("attention.dense"), (d, d), bias)?,
            ln1_post: None,
            ln2: layer_norm(file, &at("post_attention_layernorm"), d)?,
            mlp: Some(Mlp {
                gate: None,
                norm: None,
                input: linear(file, &at("mlp.dense_h_to_4h"), (d, m), Bias::Yes)?,
                output: linear(file, &at("mlp.dense_4h_to_h"), (m, d), Bias::Yes)?,
            }),
            ln2_post: None,
        });
    }
    let tokens = file.matrix("embed_in.weight", &[spec.d_vocab, d])?;
    let tied = fields.flag("tie_word_embeddings")?;
    let table = file.unembedding("embed_out.weight", tied, &tokens)?;
    let unembed = Unembed::new(table, affine(file, "final_layer_norm", d)?, None);
    Ok(Weights { embed: Embed::new(tokens, None, None), blocks, unembed })
}

/// Outputs ordered (head, q or k or v, d_head) -> (q or k or v, head, d_head).
fn apart(fused: &Linear, spec: &ModelSpec) -> Result<Linear> {
    let d_head = spec.d_head;
    let mut parts = Vec::with_capacity(3 * spec.n_heads);
    for part in 0..3 {
        for head in 0..spec.n_heads {
            parts.push(fused.narrow((3 * head + part) * d_head, d_head)?);
        }
    }
    Ok(Linear::side_by_side(&parts)?)
}
