//! GPT-2: learned positions, LayerNorm, serial blocks, `Conv1D` weights stored `[in, out]`.

use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use sae_core::ops::{Activation, Centre};

use super::fields::{activation, d_head, n_layers, name};
use super::parts::{affine, layer_norm};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::{DecoderConfig, LayerAttention};
use crate::embed::Embed;
use crate::linear::Linear;
use crate::unembed::Unembed;
use crate::weights::{Block, Mlp, Weights};

pub(super) fn config(fields: &Fields) -> Result<DecoderConfig> {
    let d_model = fields.need_size("n_embd")?;
    let n_heads = fields.need_size("n_head")?;
    let d_head = d_head(fields, d_model, ("n_head", n_heads))?;
    let n_layers = n_layers(fields, "n_layer")?;
    let n_ctx = match fields.size("n_positions")? {
        Some(n) => n,
        None => fields.need_size("n_ctx")?,
    };
    let spec = ModelSpec {
        name: name(fields, "gpt2")?,
        n_layers,
        d_model,
        n_heads,
        n_key_value_heads: n_heads,
        d_head,
        d_mlp: fields.size("n_inner")?.unwrap_or(4 * d_model),
        d_vocab: fields.need_size("vocab_size")?,
        n_ctx,
    };
    let attention = attention(fields, n_layers, d_head)?;
    let activation = match fields.get("activation_function") {
        Some(_) => activation(fields, "activation_function")?,
        None => Activation::GeluTanh,
    };
    let norm = (Centre::Mean, fields.number("layer_norm_epsilon")?.unwrap_or(1e-5));
    Ok(DecoderConfig::new(spec, norm, activation, attention))
}

/// Scores are divided by `sqrt(d_head)`, and by the layer counted from one where the configuration
/// says so.
#[allow(clippy::cast_precision_loss)]
fn attention(fields: &Fields, n_layers: u16, d_head: usize) -> Result<Vec<LayerAttention>> {
    let scaled = fields.flag("scale_attn_weights")?.unwrap_or(true);
    let by_layer = fields.flag("scale_attn_by_inverse_layer_idx")?.unwrap_or(false);
    let base = if scaled { (d_head as f64).sqrt() } else { 1.0 };
    let factor = |layer: u16| if by_layer { f64::from(layer + 1) } else { 1.0 };
    let layer = |layer| LayerAttention { scale: base * factor(layer), window: None, rotation: 0 };
    Ok((0..n_layers).map(layer).collect())
}

pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    file: &mut Checkpoint,
) -> Result<Weights> {
    // Hub files of the first GPT-2 models have no prefix; saved ones have.
    file.set_prefix(&["transformer."]);
    // Causal masks that old checkpoints carry along.
    file.ignore(|name| name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"));
    let spec = &config.spec;
    let (d, m) = (spec.d_model, spec.d_mlp);
    let heads = spec.n_heads * spec.d_head;
    let mut blocks = Vec::with_capacity(usize::from(spec.n_layers));
    for layer in 0..spec.n_layers {
        let at = |rest: &str| format!("h.{layer}.{rest}");
        blocks.push(Block {
            ln1: layer_norm(file, &at("ln_1"), d)?,
            qkv: conv1d(file, &at("attn.c_attn"), d, 3 * heads)?,
            qk_norms: None,
            attn_out: conv1d(file, &at("attn.c_proj"), heads, d)?,
            ln1_post: None,
            ln2: layer_norm(file, &at("ln_2"), d)?,
            mlp: Some(Mlp {
                gate: None,
                norm: None,
                input: conv1d(file, &at("mlp.c_fc"), d, m)?,
                output: conv1d(file, &at("mlp.c_proj"), m, d)?,
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

fn conv1d(file: &mut Checkpoint, name: &str, d_in: usize, d_out: usize) -> Result<Linear> {
    let weight = file.matrix_by_input(&format!("{name}.weight"), &[d_in, d_out])?;
    Ok(Linear::new(weight, Some(file.take(&format!("{name}.bias"), &[d_out])?))?)
}
