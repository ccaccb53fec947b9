//! OPT: learned positions that begin at row 2 of their table, LayerNorm, serial blocks, ReLU.

use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use sae_core::ops::Centre;

use super::fields::{activation, d_head, must_be, n_layers, name, uniform};
use super::parts::{Bias, affine, layer_norm, linear, qkv};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::embed::Embed;
use crate::unembed::Unembed;
use crate::weights::{Block, Mlp, Weights};

/// Rows of the position table before that of position 0.
const FIRST_ROW: usize = 2;

#[allow(clippy::cast_precision_loss)]
pub(super) fn config(fields: &Fields) -> Result<DecoderConfig> {
    must_be(fields, "do_layer_norm_before", true)?;
    must_be(fields, "_remove_final_layer_norm", false)?;
    must_be(fields, "enable_bias", true)?;
    must_be(fields, "layer_norm_elementwise_affine", true)?;
    let d_model = fields.need_size("hidden_size")?;
    if fields.size("word_embed_proj_dim")?.is_some_and(|width| width != d_model) {
        let want = format!("the width of the residual stream, {d_model}");
        return Err(fields.wrong("word_embed_proj_dim", &want).into());
    }
    let n_heads = fields.need_size("num_attention_heads")?;
    let d_head = d_head(fields, d_model, ("num_attention_heads", n_heads))?;
    let n_layers = n_layers(fields, "num_hidden_layers")?;
    let spec = ModelSpec {
        name: name(fields, "opt")?,
        n_layers,
        d_model,
        n_heads,
        n_key_value_heads: n_heads,
        d_head,
        d_mlp: fields.need_size("ffn_dim")?,
        d_vocab: fields.need_size("vocab_size")?,
        n_ctx: fields.need_size("max_position_embeddings")?,
    };
    let attention = uniform(n_layers, (d_head as f64).sqrt());
    let activation = activation(fields, "activation_function")?;
    let norm = (Centre::Mean, 1e-5);
    Ok(DecoderConfig::new(spec, norm, activation, attention))
}

pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    file: &mut Checkpoint,
) -> Result<Weights> {
    file.set_prefix(&["model.decoder.", "decoder."]);
    let spec = &config.spec;
    let (d, m) = (spec.d_model, spec.d_mlp);
    let mut blocks = Vec::with_capacity(usize::from(spec.n_layers));
    for layer in 0..spec.n_layers {
        let at = |rest: &str| format!("layers.{layer}.{rest}");
        blocks.push(Block {
            ln1: layer_norm(file, &at("self_attn_layer_norm"), d)?,
            qkv: qkv(file, &at("self_attn."), d, [d, d], Bias::Yes)?,
            qk_norms: None,
            attn_out: linear(file, &at("self_attn.out_proj"), (d, d), Bias::Yes)?,
            ln1_post: None,
            ln2: layer_norm(file, &at("final_layer_norm"), d)?,
            mlp: Some(Mlp {
                gate: None,
                norm: None,
                input: linear(file, &at("fc1"), (d, m), Bias::Yes)?,
                output: linear(file, &at("fc2"), (m, d), Bias::Yes)?,
            }),
            ln2_post: None,
        });
    }
    let tokens = file.matrix("embed_tokens.weight", &[spec.d_vocab, d])?;
    let tied = fields.flag("tie_word_embeddings")?;
    let table = file.unembedding("lm_head.weight", tied, &tokens)?;
    let positions = file.take_wide("embed_positions.weight", &[spec.n_ctx + FIRST_ROW, d])?;
    let positions = Some(positions.narrow(0, FIRST_ROW, spec.n_ctx)?);
    let unembed = Unembed::new(table, affine(file, "final_layer_norm", d)?, None);
    Ok(Weights { embed: Embed::new(tokens, positions, None), blocks, unembed })
}
