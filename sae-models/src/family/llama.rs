//! Llama and its kin: Mistral, Qwen 2, 2.5 and 3, Phi 3.

use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use sae_core::ops::Centre;

use super::fields::{activation, d_head, kv_heads, n_layers, name, sliding_layers, uniform};
use super::parts::Bias;
use super::rms::{self, Layout};
use super::rope;
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::weights::Weights;

/// What the configurations of all of them say alike.
#[allow(clippy::cast_precision_loss)]
pub(super) fn base(fields: &Fields, family: &str) -> Result<DecoderConfig> {
    let d_model = fields.need_size("hidden_size")?;
    let n_heads = fields.need_size("num_attention_heads")?;
    let d_head = match fields.size("head_dim")? {
        Some(d_head) if d_head > 0 => d_head,
        _ => d_head(fields, d_model, ("num_attention_heads", n_heads))?,
    };
    let n_key_value_heads = kv_heads(fields, n_heads)?;
    let n_layers = n_layers(fields, "num_hidden_layers")?;
    let share = rope::parameters(fields)?.number("partial_rotary_factor")?;
    let spec = ModelSpec {
        name: name(fields, family)?,
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
    let norm = (Centre::Zero, fields.number("rms_norm_eps")?.unwrap_or(1e-6));
    Ok(DecoderConfig {
        gated_mlp: true,
        rotary: Some(rope::halves(fields, rope::partial(fields, share, d_head)?)?),
        grouped_query: n_key_value_heads != n_heads,
        ..DecoderConfig::new(spec, norm, activation, attention)
    })
}

/// Llama 1 to 3 and what is built like it (SmolLM, DeepSeek-R1's distillations).
pub(super) fn llama(fields: &Fields) -> Result<DecoderConfig> {
    base(fields, "llama")
}

/// Mistral: every layer sees a window, where there is one.
pub(super) fn mistral(fields: &Fields) -> Result<DecoderConfig> {
    let config = base(fields, "mistral")?;
    let sliding = fields.get("sliding_window").is_some();
    with_windows(fields, DecoderConfig { grouped_query: true, ..config }, |_| sliding)
}

/// Qwen 1.5, 2 and 2.5: biases on queries, keys and values.
pub(super) fn qwen2(fields: &Fields) -> Result<DecoderConfig> {
    let config = base(fields, "qwen2")?;
    qwen_windows(fields, DecoderConfig { grouped_query: true, ..config })
}

/// Qwen 3: norms on each head of queries and keys.
pub(super) fn qwen3(fields: &Fields) -> Result<DecoderConfig> {
    let config = base(fields, "qwen3")?;
    qwen_windows(fields, DecoderConfig { qk_norm: true, ..config })
}

/// Phi 3: maps fused, otherwise as Mistral.
pub(super) fn phi3(fields: &Fields) -> Result<DecoderConfig> {
    let sliding = fields.get("sliding_window").is_some();
    with_windows(fields, base(fields, "phi3")?, |_| sliding)
}

/// Later layers see a window, where the configuration switches it on.
fn qwen_windows(fields: &Fields, config: DecoderConfig) -> Result<DecoderConfig> {
    if !fields.flag("use_sliding_window")?.unwrap_or(false) {
        return Ok(config);
    }
    let first = fields.size("max_window_layers")?.unwrap_or(0);
    with_windows(fields, config, |layer| usize::from(layer) >= first)
}

/// `sliding_window` in the layers that `layer_types` or, without it, `otherwise` names.
pub(super) fn with_windows(
    fields: &Fields,
    mut config: DecoderConfig,
    otherwise: impl Fn(u16) -> bool,
) -> Result<DecoderConfig> {
    let sliding = sliding_layers(fields, config.spec.n_layers, otherwise)?;
    for (layer, sliding) in config.attention.iter_mut().zip(sliding) {
        if sliding {
            layer.window = Some(fields.need_size("sliding_window")?);
        }
    }
    Ok(config)
}

pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    file: &mut Checkpoint,
) -> Result<Weights> {
    // Frequencies that old checkpoints carry along.
    file.ignore(|name| name.ends_with("rotary_emb.inv_freq"));
    let family = fields.text("model_type")?.unwrap_or_default();
    let biased = Bias::when(fields.flag("attention_bias")?.unwrap_or(false));
    let layout = Layout {
        qkv_bias: if family == "qwen2" { Bias::Yes } else { biased },
        out_bias: biased,
        mlp_bias: Bias::when(fields.flag("mlp_bias")?.unwrap_or(false)),
        fused: family == "phi3",
        gain_offset: 0.0,
        embed_scale: None,
    };
    rms::weights(fields, config, &layout, &["model."], file)
}
