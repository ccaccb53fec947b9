//! Phi 1, 1.5 and 2: rotary positions on part of each head, parallel blocks in which one norm
//! serves both parts, biases everywhere.

use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use sae_core::ops::Centre;

use super::fields::{activation, d_head, kv_heads, must_be, n_layers, name, uniform};
use super::parts::{Bias, affine, layer_norm, linear, qkv};
use super::rope;
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::embed::Embed;
use crate::unembed::Unembed;
use crate::weights::{Block, Mlp, Weights};

#[allow(clippy::cast_precision_loss)]
pub(super) fn config(fields: &Fields) -> Result<DecoderConfig> {
    must_be(fields, "qk_layernorm", false)?;
    let d_model = fields.need_size("hidden_size")?;
    let n_heads = fields.need_size("num_attention_heads")?;
    let d_head = d_head(fields, d_model, ("num_attention_heads", n_heads))?;
    let n_key_value_heads = kv_heads(fields, n_heads)?;
    let n_layers = n_layers(fields, "num_hidden_layers")?;
    let share = rope::parameters(fields)?.number("partial_rotary_factor")?.unwrap_or(0.5);
    let n_dims = rope::partial(fields, Some(share), d_head)?;
    let spec = ModelSpec {
        name: name(fields, "phi")?,
        n_layers,
        d_model,
        n_heads,
        n_key_value_heads,
        d_head,
        d_mlp: fields.need_size("intermediate_size")?,
        d_vocab: fields.need_size("vocab_size")?,
        n_ctx: fields.need_size("max_position_embeddings")?,
    };
    let attention = uniform(n_layers, (d_head as f64).sqrt());
    let activation = activation(fields, "hidden_act")?;
    let norm = (Centre::Mean, fields.number("layer_norm_eps")?.unwrap_or(1e-5));
    Ok(DecoderConfig {
        parallel: true,
        rotary: Some(rope::halves(fields, n_dims)?),
        grouped_query: n_key_value_heads != n_heads,
        ..DecoderConfig::new(spec, norm, activation, attention)
    })
}

pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    file: &mut Checkpoint,
) -> Result<Weights> {
    file.set_prefix(&["model."]);
    let spec = &config.spec;
    let (d, m) = (spec.d_model, spec.d_mlp);
    let widths = [spec.n_heads * spec.d_head, spec.n_key_value_heads * spec.d_head];
    let mut blocks = Vec::with_capacity(usize::from(spec.n_layers));
    for layer in 0..spec.n_layers {
        let at = |rest: &str| format!("layers.{layer}.{rest}");
        let norm = layer_norm(file, &at("input_layernorm"), d)?;
        blocks.push(Block {
            ln1: norm.clone(),
            qkv: qkv(file, &at("self_attn."), d, widths, Bias::Yes)?,
            qk_norms: None,
            attn_out: linear(file, &at("self_attn.dense"), (widths[0], d), Bias::Yes)?,
            ln1_post: None,
            ln2: norm,
            mlp: Some(Mlp {
                gate: None,
                norm: None,
                input: linear(file, &at("mlp.fc1"), (d, m), Bias::Yes)?,
                output: linear(file, &at("mlp.fc2"), (m, d), Bias::Yes)?,
            }),
            ln2_post: None,
        });
    }
    let tokens = file.matrix("embed_tokens.weight", &[spec.d_vocab, d])?;
    let tied = fields.flag("tie_word_embeddings")?;
    let table = file.unembedding("lm_head.weight", tied, &tokens)?;
    let bias = file.take_outside("lm_head.bias", &[spec.d_vocab])?;
    let unembed = Unembed::new(table, affine(file, "final_layernorm", d)?, bias);
    Ok(Weights { embed: Embed::new(tokens, None, None), blocks, unembed })
}
