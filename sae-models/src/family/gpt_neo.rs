//! GPT-Neo (and TinyStories): GPT-2 with scores that are not scaled and every other layer local.

use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use sae_core::ops::Centre;
use serde_json::Value;

use super::fields::{activation, d_head, n_layers, name};
use super::parts::{Bias, affine, layer_norm, linear, qkv};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::{DecoderConfig, LayerAttention};
use crate::embed::Embed;
use crate::unembed::Unembed;
use crate::weights::{Block, Mlp, Weights};

pub(super) fn config(fields: &Fields) -> Result<DecoderConfig> {
    let d_model = fields.need_size("hidden_size")?;
    let n_heads = fields.need_size("num_heads")?;
    let n_layers = n_layers(fields, "num_layers")?;
    let window = fields.need_size("window_size")?;
    let layer = |local| LayerAttention {
        scale: 1.0,
        window: if local { Some(window) } else { None },
        rotation: 0,
    };
    let spec = ModelSpec {
        name: name(fields, "gpt_neo")?,
        n_layers,
        d_model,
        n_heads,
        n_key_value_heads: n_heads,
        d_head: d_head(fields, d_model, ("num_heads", n_heads))?,
        d_mlp: fields.size("intermediate_size")?.unwrap_or(4 * d_model),
        d_vocab: fields.need_size("vocab_size")?,
        n_ctx: fields.need_size("max_position_embeddings")?,
    };
    let attention = local_layers(fields, n_layers)?.into_iter().map(layer).collect();
    let activation = activation(fields, "activation_function")?;
    let norm = (Centre::Mean, fields.number("layer_norm_epsilon")?.unwrap_or(1e-5));
    Ok(DecoderConfig::new(spec, norm, activation, attention))
}

/// Which layers are local: `attention_layers`, or `attention_types` written out
/// (`[[["global", "local"], 6]]`).
fn local_layers(fields: &Fields, n_layers: u16) -> Result<Vec<bool>> {
    let (field, kinds) = match fields.texts("attention_layers")? {
        Some(kinds) => ("attention_layers", Some(kinds)),
        None => ("attention_types", fields.get("attention_types").and_then(written_out)),
    };
    let wrong =
        || fields.wrong(field, &format!("`global` or `local` for each of {n_layers} layers"));
    let kinds = kinds.ok_or_else(wrong)?;
    // A model of one layer may list two kinds; the first layers count.
    if kinds.len() < usize::from(n_layers) || kinds.iter().any(|k| k != "global" && k != "local") {
        return Err(wrong().into());
    }
    Ok(kinds.iter().take(usize::from(n_layers)).map(|kind| kind == "local").collect())
}

fn written_out(types: &Value) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for entry in types.as_array()? {
        let kinds = entry.get(0)?.as_array()?;
        for _ in 0..entry.get(1)?.as_u64()?.min(u64::from(u16::MAX)) {
            for kind in kinds {
                all.push(kind.as_str()?.to_owned());
            }
        }
    }
    Some(all)
}

pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    file: &mut Checkpoint,
) -> Result<Weights> {
    file.set_prefix(&["transformer."]);
    // Causal masks that old checkpoints carry along.
    file.ignore(|name| {
        name.ends_with(".attention.bias") || name.ends_with(".attention.masked_bias")
    });
    let spec = &config.spec;
    let (d, m) = (spec.d_model, spec.d_mlp);
    let mut blocks = Vec::with_capacity(usize::from(spec.n_layers));
    for layer in 0..spec.n_layers {
        let at = |rest: &str| format!("h.{layer}.{rest}");
        blocks.push(Block {
            ln1: layer_norm(file, &at("ln_1"), d)?,
            qkv: qkv(file, &at("attn.attention."), d, [d, d], Bias::No)?,
            qk_norms: None,
            attn_out: linear(file, &at("attn.attention.out_proj"), (d, d), Bias::Yes)?,
            ln1_post: None,
            ln2: layer_norm(file, &at("ln_2"), d)?,
            mlp: Some(Mlp {
                gate: None,
                norm: None,
                input: linear(file, &at("mlp.c_fc"), (d, m), Bias::Yes)?,
                output: linear(file, &at("mlp.c_proj"), (m, d), Bias::Yes)?,
            }),
            ln2_post: None,
        });
    }
    let tokens = file.matrix("wte.weight", &[spec.d_vocab, d])?;
    let tied = fields.flag("tie_word_embeddings")?;
    let table = file.unembedding("lm_head.weight", tied, &tokens)?;
    let positions = Some(file.take_wide("wpe.weight", &[spec.n_ctx, d])?);
    let unembed = Unembed::new(table, affine(file, "ln_f", d)?, None);
    Ok(Weights { embed: Embed::new(tokens, positions, None), blocks, unembed })
}
