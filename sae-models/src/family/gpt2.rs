//! GPT-2: learned positions, LayerNorm, serial blocks, `Conv1D` weights stored `[in, out]`.

use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use sae_core::ops::{Activation, Centre, Linear};

use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::embed::Embed;
use crate::unembed::Unembed;
use crate::weights::{Block, NormWeights, Weights};

pub(super) fn config(fields: &Fields) -> Result<DecoderConfig> {
    let d_model = fields.need_size("n_embd")?;
    let n_heads = fields.need_size("n_head")?;
    if !d_model.is_multiple_of(n_heads) {
        return Err(fields.wrong("n_head", &format!("a divisor of n_embd = {d_model}")).into());
    }
    let d_head = d_model / n_heads;
    let n_layers = u16::try_from(fields.need_size("n_layer")?)
        .map_err(|_| fields.wrong("n_layer", "at most 65535"))?;
    let n_ctx = match fields.size("n_positions")? {
        Some(n) => n,
        None => fields.need_size("n_ctx")?,
    };
    let spec = ModelSpec {
        name: fields
            .text("_name_or_path")?
            .filter(|n| !n.is_empty())
            .unwrap_or_else(|| "gpt2".to_owned()),
        n_layers,
        d_model,
        n_heads,
        n_key_value_heads: n_heads,
        d_head,
        d_mlp: fields.size("n_inner")?.unwrap_or(4 * d_model),
        d_vocab: fields.need_size("vocab_size")?,
        n_ctx,
    };
    let activation = match fields.text("activation_function")?.as_deref() {
        None | Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Activation::GeluTanh,
        Some("relu") => Activation::Relu,
        Some(_) => return Err(fields.wrong("activation_function", "gelu_new or relu").into()),
    };
    Ok(DecoderConfig {
        attn_scale: attn_scale(fields, n_layers, d_head)?,
        norm: Centre::Mean,
        norm_eps: fields.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        activation,
        spec,
    })
}

/// `sqrt(d_head)`, times the layer counted from one where the configuration says so.
#[allow(clippy::cast_precision_loss)]
fn attn_scale(fields: &Fields, n_layers: u16, d_head: usize) -> Result<Vec<f64>> {
    let scaled = fields.flag("scale_attn_weights")?.unwrap_or(true);
    let by_layer = fields.flag("scale_attn_by_inverse_layer_idx")?.unwrap_or(false);
    let base = if scaled { (d_head as f64).sqrt() } else { 1.0 };
    let factor = |layer: u16| if by_layer { f64::from(layer + 1) } else { 1.0 };
    Ok((0..n_layers).map(|layer| base * factor(layer)).collect())
}

pub(super) fn weights(config: &DecoderConfig, file: &mut Checkpoint) -> Result<Weights> {
    // Hub files of the first GPT-2 models have no prefix; saved ones have.
    file.set_prefix("transformer.");
    // Causal masks that old checkpoints carry along.
    file.ignore(|name| name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"));
    let spec = &config.spec;
    let (d, m) = (spec.d_model, spec.d_mlp);
    let heads = spec.n_heads * spec.d_head;
    let mut blocks = Vec::with_capacity(usize::from(spec.n_layers));
    for layer in 0..spec.n_layers {
        let at = |rest: &str| format!("h.{layer}.{rest}");
        blocks.push(Block {
            ln1: norm(file, &at("ln_1"), d)?,
            qkv: conv1d(file, &at("attn.c_attn"), d, 3 * heads)?,
            attn_out: conv1d(file, &at("attn.c_proj"), heads, d)?,
            ln2: norm(file, &at("ln_2"), d)?,
            mlp_in: conv1d(file, &at("mlp.c_fc"), d, m)?,
            mlp_out: conv1d(file, &at("mlp.c_proj"), m, d)?,
        });
    }
    let tokens = file.take("wte.weight", &[spec.d_vocab, d])?;
    // Absent when tied; a file that has it says what it wants.
    let table = file.take_outside("lm_head.weight", &[spec.d_vocab, d])?;
    let embed = Embed {
        tokens: tokens.clone(),
        positions: file.take("wpe.weight", &[spec.n_ctx, d])?,
        centre_tokens: false,
    };
    let unembed = Unembed {
        table: table.unwrap_or(tokens),
        gain: file.take("ln_f.weight", &[d])?,
        bias: file.take("ln_f.bias", &[d])?,
        folded: false,
        centre_input: false,
        vocabulary_mean: None,
    };
    file.check_all_used()?;
    Ok(Weights { embed, blocks, unembed, n_value_columns: heads })
}

fn norm(file: &mut Checkpoint, name: &str, d: usize) -> Result<NormWeights> {
    Ok(NormWeights::Affine {
        gain: file.take(&format!("{name}.weight"), &[d])?,
        bias: file.take(&format!("{name}.bias"), &[d])?,
    })
}

fn conv1d(file: &mut Checkpoint, name: &str, d_in: usize, d_out: usize) -> Result<Linear> {
    let weight = file.take(&format!("{name}.weight"), &[d_in, d_out])?;
    Ok(Linear::new(weight, Some(file.take(&format!("{name}.bias"), &[d_out])?))?)
}
