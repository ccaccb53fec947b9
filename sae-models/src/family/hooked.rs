//! TransformerLens' own small models (`gelu-2l`, `solu-4l`, `attn-only-2l`, ...): its configuration, and
//! its state dict, tensors by its own names.

use candle_core::{DType, Device, Tensor};
use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use sae_core::ops::{Activation, Centre};

use super::fields::{n_layers, name, uniform};
use crate::Result;
use crate::checkpoint::Checkpoint;
use crate::config::{DecoderConfig, MlpActivation};
use crate::embed::Embed;
use crate::linear::Linear;
use crate::unembed::Unembed;
use crate::weights::{Block, Mlp, NormWeights, Weights};

/// Whether a configuration is TransformerLens' own: it names no `model_type`, and has its fields.
pub(super) fn is_own(fields: &Fields) -> bool {
    fields.get("model_type").is_none() && fields.get("act_fn").is_some()
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn config(fields: &Fields) -> Result<DecoderConfig> {
    let d_head = fields.need_size("d_head")?;
    let n_layers = n_layers(fields, "n_layers")?;
    let n_heads = fields.need_size("n_heads")?;
    let attn_only = fields.flag("attn_only")?.unwrap_or(false);
    let spec = ModelSpec {
        name: name(fields, "hooked-transformer")?,
        n_layers,
        d_model: fields.need_size("d_model")?,
        n_heads,
        n_key_value_heads: n_heads,
        d_head,
        d_mlp: if attn_only { 0 } else { fields.need_size("d_mlp")? },
        d_vocab: fields.need_size("d_vocab")?,
        n_ctx: fields.need_size("n_ctx")?,
    };
    norm_has_weights(fields)?;
    let norm = (Centre::Mean, fields.number("eps")?.unwrap_or(1e-5));
    let attention = uniform(n_layers, (d_head as f64).sqrt());
    let config = DecoderConfig::new(spec, norm, Activation::GeluErf, attention);
    let final_norm = match fields.flag("final_rms")? {
        Some(true) => Centre::Zero,
        _ => Centre::Mean,
    };
    Ok(DecoderConfig {
        activation: activation(fields)?,
        attn_only,
        final_norm,
        shortformer: fields.flag("shortformer_pos")?.unwrap_or(false),
        ..config
    })
}

fn activation(fields: &Fields) -> Result<MlpActivation> {
    Ok(match fields.text("act_fn")?.as_deref() {
        Some("solu_ln") => MlpActivation::Solu { normed: true },
        Some("solu") => MlpActivation::Solu { normed: false },
        Some("gelu") => Activation::GeluErf.into(),
        Some("gelu_new" | "gelu_pytorch_tanh") => Activation::GeluTanh.into(),
        Some("silu") => Activation::Silu.into(),
        Some("relu") => Activation::Relu.into(),
        _ => {
            let want = "solu_ln, solu, gelu, gelu_new, gelu_pytorch_tanh, silu or relu";
            return Err(fields.wrong("act_fn", want).into());
        }
    })
}

/// Whether norms have gains and biases (`LN`), or they were folded before (`LNPre`).
fn norm_has_weights(fields: &Fields) -> Result<bool> {
    // Older configurations call it `normalization`.
    let field = match fields.get("normalization") {
        Some(_) => "normalization",
        None => "normalization_type",
    };
    match fields.text(field)?.as_deref() {
        Some("LN") => Ok(true),
        Some("LNPre") => Ok(false),
        _ => Err(fields.wrong(field, "LN or LNPre").into()),
    }
}

pub(super) fn weights(
    fields: &Fields,
    config: &DecoderConfig,
    file: &mut Checkpoint,
) -> Result<Weights> {
    // Causal masks, and the score of masked keys.
    file.ignore(|name| name.ends_with(".attn.mask") || name.ends_with(".attn.IGNORE"));
    let has_weights = norm_has_weights(fields)?;
    let spec = &config.spec;
    let (d, v) = (spec.d_model, spec.d_vocab);
    let blocks = (0..spec.n_layers)
        .map(|layer| block(config, has_weights, layer, file))
        .collect::<Result<Vec<_>>>()?;
    let tokens = file.matrix("embed.W_E", &[v, d])?;
    let positions = Some(file.take_wide("pos_embed.W_pos", &[spec.n_ctx, d])?);
    let table = file.take("unembed.W_U", &[d, v])?.t()?.contiguous()?;
    let logit_bias = file.take_outside("unembed.b_U", &[v])?;
    let logit_bias = logit_bias.map(|bias| bias.to_dtype(DType::F32)).transpose()?;
    let gain = match has_weights {
        true => file.take("ln_final.w", &[d])?,
        false => Tensor::ones(d, DType::F32, &Device::Cpu)?,
    };
    let bias = match has_weights && config.final_norm == Centre::Mean {
        true => Some(file.take("ln_final.b", &[d])?),
        false => None,
    };
    let unembed = Unembed::new(table.t()?.into(), (gain, bias), logit_bias);
    Ok(Weights { embed: Embed::new(tokens, positions, None), blocks, unembed })
}

fn block(
    config: &DecoderConfig,
    has_weights: bool,
    layer: u16,
    file: &mut Checkpoint,
) -> Result<Block> {
    let spec = &config.spec;
    let (d, m, h, e) = (spec.d_model, spec.d_mlp, spec.n_heads, spec.d_head);
    let at = |rest: &str| format!("blocks.{layer}.{rest}");
    let norm = |file: &mut Checkpoint, name: &str, width: usize| -> Result<NormWeights> {
        if !has_weights {
            return Ok(NormWeights::Folded);
        }
        let gain = file.take(&at(&format!("{name}.w")), &[width])?;
        let bias = Some(file.take(&at(&format!("{name}.b")), &[width])?);
        Ok(NormWeights::Affine { gain, bias })
    };
    let bias = |file: &mut Checkpoint, name: &str, shape: &[usize]| -> Result<Tensor> {
        // Biases came later than the first models.
        let found = file.take_outside(&at(name), shape)?;
        let bias = found.map_or_else(|| Tensor::zeros(shape, DType::F32, &Device::Cpu), Ok)?;
        Ok(bias.to_dtype(DType::F32)?.flatten_all()?)
    };
    let mut maps = Vec::with_capacity(3);
    for part in ["Q", "K", "V"] {
        // [head, d_model, d_head], for use from the left.
        let w = file.take(&at(&format!("attn.W_{part}")), &[h, d, e])?;
        let w = w.transpose(0, 1)?.reshape((d, h * e))?;
        maps.push(Linear::new(w, Some(bias(file, &format!("attn.b_{part}"), &[h, e])?))?);
    }
    let w_o = file.take(&at("attn.W_O"), &[h, e, d])?.reshape((h * e, d))?;
    let mlp = match config.attn_only {
        true => None,
        false => Some(Mlp {
            gate: None,
            input: Linear::new(
                file.take(&at("mlp.W_in"), &[d, m])?,
                Some(bias(file, "mlp.b_in", &[m])?),
            )?,
            norm: match config.activation {
                MlpActivation::Solu { normed: true } => Some(norm(file, "mlp.ln", m)?),
                _ => None,
            },
            output: Linear::new(
                file.take(&at("mlp.W_out"), &[m, d])?,
                Some(bias(file, "mlp.b_out", &[d])?),
            )?,
        }),
    };
    Ok(Block {
        ln1: norm(file, "ln1", d)?,
        qkv: Linear::side_by_side(&maps)?,
        qk_norms: None,
        attn_out: Linear::new(w_o, Some(bias(file, "attn.b_O", &[d])?))?,
        ln1_post: None,
        ln2: if config.attn_only { NormWeights::Folded } else { norm(file, "ln2", d)? },
        mlp,
        ln2_post: None,
    })
}
