//! GPT-J: rotary positions on adjacent pairs, parallel blocks in which one norm serves both parts.

use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use sae_core::ops::Centre;

use super::fields::{activation, d_head, n_layers, name, uniform};
use super::parts::{Bias, affine, layer_norm, linear, qkv};
use super::rope;
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::embed::Embed;
use crate::rotary::{Pairs, Rotary};
use crate::unembed::Unembed;
use crate::weights::{Block, Mlp, Weights};

#[allow(clippy::cast_precision_loss)]
pub(super) fn config(fields: &Fields) -> Result<DecoderConfig> {
    let d_model = fields.need_size("n_embd")?;
    let n_heads = fields.need_size("n_head")?;
    let d_head = d_head(fields, d_model, ("n_head", n_heads))?;
    let n_layers = n_layers(fields, "n_layer")?;
    let n_dims = fields.size("rotary_dim")?.unwrap_or(d_head);
    if n_dims > d_head || n_dims % 2 == 1 {
        let want = format!("an even number up to the width of a head, {d_head}");
        return Err(fields.wrong("rotary_dim", &want).into());
    }
    let frequencies = vec![rope::frequencies(fields, 10_000.0, n_dims)?];
    let spec = ModelSpec {
        name: name(fields, "gptj")?,
        n_layers,
        d_model,
        n_heads,
        n_key_value_heads: n_heads,
        d_head,
        d_mlp: fields.size("n_inner")?.unwrap_or(4 * d_model),
        d_vocab: fields.need_size("vocab_size")?,
        n_ctx: fields.need_size("n_positions")?,
    };
    let attention = uniform(n_layers, (d_head as f64).sqrt());
    let activation = activation(fields, "activation_function")?;
    let norm = (Centre::Mean, fields.number("layer_norm_epsilon")?.unwrap_or(1e-5));
    Ok(DecoderConfig {
        parallel: true,
        rotary: Some(Rotary { n_dims, pairs: Pairs::Adjacent, frequencies }),
        ..DecoderConfig::new(spec, norm, activation, attention)
    })
}

pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    file: &mut Checkpoint,
) -> Result<Weights> {
    file.set_prefix(&["transformer."]);
    // Causal masks that old checkpoints carry along.
    file.ignore(|name| name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"));
    let spec = &config.spec;
    let (d, m) = (spec.d_model, spec.d_mlp);
    let mut blocks = Vec::with_capacity(usize::from(spec.n_layers));
    for layer in 0..spec.n_layers {
        let at = |rest: &str| format!("h.{layer}.{rest}");
        let norm = layer_norm(file, &at("ln_1"), d)?;
        blocks.push(Block {
            ln1: norm.clone(),
            qkv: qkv(file, &at("attn."), d, [d, d], Bias::No)?,
            qk_norms: None,
            attn_out: linear(file, &at("attn.out_proj"), (d, d), Bias::No)?,
            ln1_post: None,
            ln2: norm,
            mlp: Some(Mlp {
                gate: None,
                norm: None,
                input: linear(file, &at("mlp.fc_in"), (d, m), Bias::Yes)?,
                output: linear(file, &at("mlp.fc_out"), (m, d), Bias::Yes)?,
            }),
            ln2_post: None,
        });
    }
    let tokens = file.matrix("wte.weight", &[spec.d_vocab, d])?;
    let tied = fields.flag("tie_word_embeddings")?;
    let table = file.unembedding("lm_head.weight", tied, &tokens)?;
    let bias = file.take_outside("lm_head.bias", &[spec.d_vocab])?;
    let unembed = Unembed::new(table, affine(file, "ln_f", d)?, bias);
    Ok(Weights { embed: Embed::new(tokens, None, None), blocks, unembed })
}
