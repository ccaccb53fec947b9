//! Gemma 1 to 3: embeddings times `sqrt(d_model)`, norm gains stored less one.

use sae_core::io::Fields;
use sae_core::ops::Activation;
use serde_json::{Map, Value};

use super::llama::{base, with_windows};
use super::parts::Bias;
use super::rms::{self, Layout};
use super::rope;
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::rotary::{Pairs, Rotary};
use crate::weights::Weights;

/// Which of [`Rotary::frequencies`] layers with a window use in Gemma 3.
const LOCAL: usize = 1;

/// Gemma 1. Its configurations say `gelu`, and mean the tanh form, as Hugging Face reads them.
pub(super) fn gemma(fields: &Fields) -> Result<DecoderConfig> {
    let config = base(&with_activation(fields), "gemma")?;
    let activation = match fields.text("hidden_activation")?.as_deref() {
        None | Some("gelu_pytorch_tanh" | "gelu_new") => Activation::GeluTanh,
        Some("gelu") => Activation::GeluErf,
        Some(_) => return Err(fields.wrong("hidden_activation", "gelu_pytorch_tanh").into()),
    };
    Ok(DecoderConfig { activation: activation.into(), grouped_query: true, ..config })
}

/// Gemma 2: norms on both sides, soft caps, windows in even layers.
pub(super) fn gemma2(fields: &Fields) -> Result<DecoderConfig> {
    let config = scaled_scores(fields, gemma(fields)?)?;
    let config = DecoderConfig {
        post_norms: true,
        score_cap: fields.number("attn_logit_softcapping")?,
        logit_cap: fields.number("final_logit_softcapping")?,
        ..config
    };
    with_windows(fields, config, |layer| layer % 2 == 0)
}

/// Gemma 3: as Gemma 2 with norms on queries and keys, and a rotation of its own for the layers
/// with a window, five of six.
pub(super) fn gemma3(fields: &Fields) -> Result<DecoderConfig> {
    let config = DecoderConfig { qk_norm: true, ..gemma2(fields)? };
    let period = match fields.size("sliding_window_pattern")? {
        Some(period) => period,
        None => fields.size("_sliding_window_pattern")?.unwrap_or(6),
    };
    let mut config = with_windows(fields, without_windows(config), |layer| {
        !(usize::from(layer) + 1).is_multiple_of(period.max(1))
    })?;
    let d_head = config.spec.d_head;
    config.rotary = Some(rotary(fields, d_head)?);
    for layer in &mut config.attention {
        layer.rotation = if layer.window.is_some() { LOCAL } else { 0 };
    }
    Ok(config)
}

/// Gemma 3 that also sees images: its text model, with what its configuration leaves out.
pub(super) fn gemma3_vision(fields: &Fields) -> Result<DecoderConfig> {
    gemma3(&text_fields(fields)?)
}

fn text_fields(fields: &Fields) -> Result<Fields> {
    let Some(mut text) = fields.object("text_config")? else {
        return Err(fields.wrong("text_config", "an object").into());
    };
    let defaults: [(&str, Value); 9] = [
        ("vocab_size", 262_208.into()),
        ("num_attention_heads", 8.into()),
        ("num_key_value_heads", 4.into()),
        ("head_dim", 256.into()),
        ("max_position_embeddings", 131_072.into()),
        ("query_pre_attn_scalar", 256.into()),
        ("rope_theta", 1_000_000.0.into()),
        ("rms_norm_eps", 1e-6.into()),
        ("sliding_window", 4096.into()),
    ];
    let map: &mut Map<String, Value> = text.map_mut();
    for (field, value) in defaults {
        map.entry(field).or_insert(value);
    }
    Ok(text)
}

/// The fields with an activation function that [`base`] can read; Gemma's own comes later.
fn with_activation(fields: &Fields) -> Fields {
    let mut fields = fields.clone();
    fields.map_mut().insert("hidden_act".to_owned(), "gelu_pytorch_tanh".into());
    // Two rotations in one object, or a scaling of the global one only: read in `rotary`.
    fields.map_mut().remove("rope_parameters");
    fields.map_mut().remove("rope_scaling");
    fields
}

/// Scores are divided by `sqrt(query_pre_attn_scalar)`.
fn scaled_scores(fields: &Fields, mut config: DecoderConfig) -> Result<DecoderConfig> {
    const FIELD: &str = "query_pre_attn_scalar";
    let Some(scalar) = fields.number(FIELD)?.filter(|scalar| *scalar > 0.0) else {
        return Err(fields.wrong(FIELD, "a number above 0").into());
    };
    for layer in &mut config.attention {
        layer.scale = scalar.sqrt();
    }
    Ok(config)
}

fn without_windows(mut config: DecoderConfig) -> DecoderConfig {
    config.attention.iter_mut().for_each(|layer| layer.window = None);
    config
}

/// The rotation of layers that see everything, and that of the others.
fn rotary(fields: &Fields, d_head: usize) -> Result<Rotary> {
    let (full, local) = match fields.object("rope_parameters")? {
        Some(both) => (both.object("full_attention")?, both.object("sliding_attention")?),
        None => (None, None),
    };
    let nested = |part: Option<Fields>, field: &str, otherwise: f64| -> Result<f64> {
        let found = match part {
            Some(part) => part.number("rope_theta")?,
            None => fields.number(field)?,
        };
        Ok(found.unwrap_or(otherwise))
    };
    let base = nested(full.clone(), "rope_theta", 1_000_000.0)?;
    let scaling = match full {
        Some(full) => {
            let mut wrapped = fields.clone();
            let map = Value::Object(full.map().clone());
            wrapped.map_mut().insert("rope_parameters".to_owned(), map);
            wrapped
        }
        None => fields.clone(),
    };
    let local =
        rope::frequencies(fields, nested(local, "rope_local_base_freq", 10_000.0)?, d_head)?;
    let full = rope::scaled(&scaling, rope::frequencies(fields, base, d_head)?)?;
    Ok(Rotary { n_dims: d_head, pairs: Pairs::Halves, frequencies: vec![full, local] })
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    file: &mut Checkpoint,
) -> Result<Weights> {
    // The parts that see images.
    file.ignore(|name| {
        ["vision_tower.", "multi_modal_projector."].iter().any(|part| name.contains(part))
    });
    let biased = Bias::when(fields.flag("attention_bias")?.unwrap_or(false));
    let layout = Layout {
        qkv_bias: biased,
        out_bias: biased,
        mlp_bias: Bias::No,
        fused: false,
        gain_offset: if file.gains_are_whole() { 0.0 } else { 1.0 },
        embed_scale: Some((config.spec.d_model as f64).sqrt()),
    };
    let prefixes = ["language_model.model.", "model.language_model.", "model."];
    rms::weights(fields, config, &layout, &prefixes, file)
}
