//! Configuration fields that several families share.

use sae_core::io::Fields;
use sae_core::ops::Activation;

use crate::Result;
use crate::config::LayerAttention;

/// The number of layers in `field`.
pub(super) fn n_layers(fields: &Fields, field: &str) -> Result<u16> {
    u16::try_from(fields.need_size(field)?).map_err(|_| fields.wrong(field, "at most 65535").into())
}

/// What the model calls itself.
pub(super) fn name(fields: &Fields, family: &str) -> Result<String> {
    let name = fields.text("_name_or_path")?.filter(|name| !name.is_empty());
    Ok(name.unwrap_or_else(|| family.to_owned()))
}

/// `d_model / n_heads`, which must come out even.
pub(super) fn d_head(
    fields: &Fields,
    d_model: usize,
    (field, heads): (&str, usize),
) -> Result<usize> {
    if d_model.is_multiple_of(heads) {
        return Ok(d_model / heads);
    }
    Err(fields.wrong(field, &format!("a divisor of the width {d_model}")).into())
}

/// Key/value heads: a divisor of the heads; as many when the configuration does not say.
pub(super) fn kv_heads(fields: &Fields, heads: usize) -> Result<usize> {
    const FIELD: &str = "num_key_value_heads";
    match fields.size(FIELD)? {
        None => Ok(heads),
        Some(n) if n > 0 && heads.is_multiple_of(n) => Ok(n),
        Some(_) => Err(fields.wrong(FIELD, &format!("a divisor of {heads} heads")).into()),
    }
}

/// The activation function that `field` names.
pub(super) fn activation(fields: &Fields, field: &str) -> Result<Activation> {
    match fields.text(field)?.as_deref() {
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Ok(Activation::GeluTanh),
        Some("gelu") => Ok(Activation::GeluErf),
        Some("silu" | "swish") => Ok(Activation::Silu),
        Some("relu") => Ok(Activation::Relu),
        _ => Err(fields.wrong(field, "gelu_new, gelu_pytorch_tanh, gelu, silu or relu").into()),
    }
}

/// A switch that must have one value, since the other is not built.
pub(super) fn must_be(fields: &Fields, field: &str, want: bool) -> Result<()> {
    match fields.flag(field)? {
        Some(got) if got != want => Err(fields.wrong(field, &want.to_string()).into()),
        _ => Ok(()),
    }
}

/// Attention that is the same in every layer and sees everything before it.
pub(super) fn uniform(n_layers: u16, scale: f64) -> Vec<LayerAttention> {
    vec![LayerAttention { scale, window: None, rotation: 0 }; usize::from(n_layers)]
}

/// Which layers see a window only: `layer_types` where it is given, `otherwise` by layer.
pub(super) fn sliding_layers(
    fields: &Fields,
    n_layers: u16,
    otherwise: impl Fn(u16) -> bool,
) -> Result<Vec<bool>> {
    const FIELD: &str = "layer_types";
    let Some(types) = fields.texts(FIELD)? else {
        return Ok((0..n_layers).map(otherwise).collect());
    };
    let wrong = || {
        let want = format!("{n_layers} of sliding_attention and full_attention");
        crate::Error::from(fields.wrong(FIELD, &want))
    };
    if types.len() != usize::from(n_layers) {
        return Err(wrong());
    }
    let sliding = |kind: &String| match kind.as_str() {
        "sliding_attention" => Ok(true),
        "full_attention" => Ok(false),
        _ => Err(wrong()),
    };
    types.iter().map(sliding).collect()
}
