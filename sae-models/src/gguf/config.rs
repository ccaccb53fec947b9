//! Metadata -> the fields of the family's `config.json`.

use sae_core::io::Fields;
use serde_json::{Map, Value, json};

use super::header::Header;
use crate::error::nearest;
use crate::{Error, Result};

/// The architectures that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
    Gemma3,
    Gpt2,
}

const NAMES: [&str; 7] = ["llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gpt2"];
const ALL: [Architecture; 7] = [
    Architecture::Llama,
    Architecture::Qwen2,
    Architecture::Qwen3,
    Architecture::Gemma,
    Architecture::Gemma2,
    Architecture::Gemma3,
    Architecture::Gpt2,
];

impl Architecture {
    fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// The value of `model_type` in Hugging Face's configuration.
    fn model_type(self) -> &'static str {
        if self == Self::Gemma3 { "gemma3_text" } else { self.name() }
    }

    /// The largest models of Gemma 2 and 3 divide scores by the root of `d_model / n_heads`
    /// (`llama-model.cpp`, which knows them by their depth as well).
    fn widest_layers(self) -> Option<usize> {
        match self {
            Self::Gemma2 => Some(46),
            Self::Gemma3 => Some(62),
            _ => None,
        }
    }
}

/// `general.architecture`, if it is one that is read.
pub(super) fn architecture(header: &Header) -> Result<Architecture> {
    const FIELD: &str = "general.architecture";
    let Some(got) = header.fields.text(FIELD)? else {
        return Err(header.fields.wrong(FIELD, "the name of an architecture").into());
    };
    match NAMES.iter().position(|name| *name == got) {
        Some(i) => Ok(ALL[i]),
        None => Err(Error::UnknownFamily {
            path: header.fields.path().to_owned(),
            field: FIELD,
            nearest: nearest(&got, &NAMES),
            got,
            known: &NAMES,
        }),
    }
}

/// Metadata of one architecture.
struct Metadata<'a> {
    fields: &'a Fields,
    architecture: Architecture,
}

impl Metadata<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name())
    }

    fn need(&self, key: &str) -> Result<usize> {
        Ok(self.fields.need_size(&self.key(key))?)
    }

    fn size(&self, key: &str) -> Result<Option<usize>> {
        Ok(self.fields.size(&self.key(key))?)
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        Ok(self.fields.number(&self.key(key))?)
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        Ok(self.fields.text(&self.key(key))?)
    }
}

/// The configuration, as Hugging Face would write it.
pub(super) fn fields(header: &Header, architecture: Architecture) -> Result<Fields> {
    let metadata = Metadata { fields: &header.fields, architecture };
    let mut config = match architecture {
        Architecture::Gpt2 => gpt2(&metadata)?,
        _ => rms(&metadata)?,
    };
    let mut put = |field: &str, value: Value| config.insert(field.to_owned(), value);
    put("model_type", architecture.model_type().into());
    put("tie_word_embeddings", (!header.tensors.contains_key("output.weight")).into());
    put("vocab_size", vocabulary(header)?.into());
    if let Some(name) = header.fields.text("general.name")? {
        put("_name_or_path", name.into());
    }
    Ok(Fields::new(header.fields.path(), config))
}

/// The rows of the token embedding: not all files say the number.
fn vocabulary(header: &Header) -> Result<usize> {
    const TABLE: &str = "token_embd.weight";
    match header.tensors.get(TABLE).and_then(|table| table.shape.first()) {
        Some(rows) => Ok(*rows),
        None => Err(sae_core::Error::MissingTensor {
            path: header.fields.path().to_owned(),
            name: TABLE.to_owned(),
            want: Vec::new(),
        }
        .into()),
    }
}

fn gpt2(metadata: &Metadata<'_>) -> Result<Map<String, Value>> {
    Ok(object(json!({
        "n_embd": metadata.need("embedding_length")?,
        "n_head": metadata.need("attention.head_count")?,
        "n_layer": metadata.need("block_count")?,
        "n_positions": metadata.need("context_length")?,
        "n_inner": metadata.need("feed_forward_length")?,
        "layer_norm_epsilon": metadata.number("attention.layer_norm_epsilon")?,
    })))
}

/// Llama and its kin.
#[allow(clippy::cast_precision_loss)]
fn rms(metadata: &Metadata<'_>) -> Result<Map<String, Value>> {
    let (d_model, n_heads) =
        (metadata.need("embedding_length")?, metadata.need("attention.head_count")?);
    let n_layers = metadata.need("block_count")?;
    let d_head = metadata.size("attention.key_length")?.unwrap_or(d_model / n_heads);
    let mut config = object(json!({
        "hidden_size": d_model,
        "num_attention_heads": n_heads,
        "num_key_value_heads": metadata.size("attention.head_count_kv")?.unwrap_or(n_heads),
        "head_dim": d_head,
        "num_hidden_layers": n_layers,
        "intermediate_size": metadata.need("feed_forward_length")?,
        "max_position_embeddings": metadata.need("context_length")?,
        "rms_norm_eps": metadata.number("attention.layer_norm_rms_epsilon")?,
        "rope_theta": metadata.number("rope.freq_base")?,
        "hidden_act": "silu",
        "rope_scaling": scaling(metadata)?,
    }));
    let mut put = |field: &str, value: Value| config.insert(field.to_owned(), value);
    if let Some(rotated) = metadata.size("rope.dimension_count")?.filter(|n| *n != d_head) {
        put("partial_rotary_factor", (rotated as f64 / d_head.max(1) as f64).into());
    }
    if matches!(metadata.architecture, Architecture::Gemma2 | Architecture::Gemma3) {
        let widest = metadata.architecture.widest_layers() == Some(n_layers);
        let scalar = if widest { d_model / n_heads } else { d_head };
        put("query_pre_attn_scalar", scalar.into());
    }
    match metadata.architecture {
        Architecture::Gemma2 => {
            // llama.cpp's defaults, for files that were made before it wrote them.
            let cap = |key: &str, otherwise: f64| -> Result<Value> {
                Ok(metadata.number(key)?.unwrap_or(otherwise).into())
            };
            put("attn_logit_softcapping", cap("attn_logit_softcapping", 50.0)?);
            put("final_logit_softcapping", cap("final_logit_softcapping", 30.0)?);
            put(
                "sliding_window",
                metadata.size("attention.sliding_window")?.unwrap_or(4096).into(),
            );
        }
        Architecture::Gemma3 => {
            put("sliding_window", metadata.need("attention.sliding_window")?.into());
            put("final_logit_softcapping", metadata.number("final_logit_softcapping")?.into());
            let local = metadata.number("rope.freq_base_swa")?.unwrap_or(10_000.0);
            put("rope_local_base_freq", local.into());
        }
        _ => {}
    }
    Ok(config)
}

/// `rope_scaling`, where positions are stretched.
fn scaling(metadata: &Metadata<'_>) -> Result<Value> {
    let factor = match metadata.number("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => metadata.number("rope.scale_linear")?,
    };
    let kind = metadata.text("rope.scaling.type")?;
    Ok(match (kind.as_deref(), factor) {
        (Some("none"), _) | (None, None) => Value::Null,
        (kind, factor) => json!({ "rope_type": kind.unwrap_or("linear"), "factor": factor }),
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
