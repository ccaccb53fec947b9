//! Names of tensors: Hugging Face's to llama.cpp's, and what its converter changes in them
//! (`gguf-py/gguf/tensor_mapping.py`, `convert_hf_to_gguf.py`).

use std::collections::HashMap;

use candle_core::Tensor;
use sae_core::io::Fields;
use sae_core::ops::Packed;

use super::config::Architecture;
use super::header::Header;
use crate::Result;

/// Factors of rotary frequencies; they belong to the configuration.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// A tensor of the file, and how to get from it to Hugging Face's.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) undo: Undo,
}

/// What the converter did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    Nothing,
    /// GPT-2's maps are stored `[out, in]`.
    Transposed,
    /// Llama's queries and keys: within each head, the coordinates that are rotated together stand
    /// side by side.
    Interleaved {
        heads: usize,
    },
}

impl Undo {
    /// As [`Undo::apply`], to a matrix whose rows are outputs whatever Hugging Face's are.
    pub(super) fn apply_to_rows(self, packed: Packed) -> Result<Packed> {
        let Self::Interleaved { heads } = self else { return Ok(packed) };
        let (rows, _) = packed.dims();
        let half = rows / heads.max(1) / 2;
        let place = |row: usize| {
            let (head, within) = (row / (2 * half), row % (2 * half));
            2 * half * head + 2 * (within % half) + within / half
        };
        Ok(packed.select((0..rows).map(place))?)
    }

    pub(super) fn apply(self, tensor: Tensor) -> Result<Tensor> {
        match self {
            Self::Nothing => Ok(tensor),
            Self::Transposed => Ok(tensor.t()?),
            Self::Interleaved { heads } => {
                let shape = tensor.dims().to_vec();
                let rest: usize = shape[1..].iter().product();
                let pairs = tensor.reshape((heads, shape[0] / heads.max(1) / 2, 2, rest))?;
                Ok(pairs.transpose(1, 2)?.contiguous()?.reshape(shape)?)
            }
        }
    }
}

/// Names outside the blocks, Hugging Face's and llama.cpp's.
type Pairs = &'static [(&'static str, &'static str)];

const RMS_OUTSIDE: Pairs =
    &[("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];
const RMS_BLOCK: Pairs = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];
/// Norms before the MLP only.
const ONE_SIDE: Pairs = &[("post_attention_layernorm", "ffn_norm")];
/// Norms on both sides of attention and MLP.
const BOTH_SIDES: Pairs = &[
    ("post_attention_layernorm", "post_attention_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
];
const GPT2_OUTSIDE: Pairs = &[
    ("wte", "token_embd"),
    ("wpe", "position_embd"),
    ("ln_f", "output_norm"),
    ("lm_head", "output"),
];
const GPT2_BLOCK: Pairs = &[
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
];

impl Architecture {
    fn outside(self) -> Pairs {
        if self == Self::Gpt2 { GPT2_OUTSIDE } else { RMS_OUTSIDE }
    }

    fn block(self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let (all, norms): (Pairs, Pairs) = match self {
            Self::Gpt2 => (GPT2_BLOCK, &[]),
            Self::Gemma2 | Self::Gemma3 => (RMS_BLOCK, BOTH_SIDES),
            Self::Llama | Self::Qwen2 | Self::Qwen3 | Self::Gemma => (RMS_BLOCK, ONE_SIDE),
        };
        all.iter().chain(norms)
    }

    fn blocks_prefix(self) -> &'static str {
        if self == Self::Gpt2 { "h." } else { "model.layers." }
    }

    /// `blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`
    fn published(self, stored: &str) -> Option<String> {
        let (stem, kind) = stored.rsplit_once('.')?;
        let Some((layer, part)) = stem.strip_prefix("blk.").and_then(|s| s.split_once('.')) else {
            let (name, _) = self.outside().iter().find(|(_, ours)| *ours == stem)?;
            return Some(format!("{name}.{kind}"));
        };
        let (name, _) = self.block().find(|(_, ours)| *ours == part)?;
        Some(format!("{}{layer}.{name}.{kind}", self.blocks_prefix()))
    }

    /// The other way round; what has no other name keeps its own.
    pub(super) fn stored(self, published: &str) -> String {
        let translated = || {
            let (stem, kind) = published.rsplit_once('.')?;
            let inside = stem.strip_prefix(self.blocks_prefix()).and_then(|s| s.split_once('.'));
            let Some((layer, part)) = inside else {
                let (_, ours) = self.outside().iter().find(|(name, _)| *name == stem)?;
                return Some(format!("{ours}.{kind}"));
            };
            let (_, ours) = self.block().find(|(name, _)| *name == part)?;
            Some(format!("blk.{layer}.{ours}.{kind}"))
        };
        translated().unwrap_or_else(|| published.to_owned())
    }

    fn undo(self, published: &str, config: &Fields) -> Result<Undo> {
        let heads = |field: &str| -> Result<Undo> {
            Ok(Undo::Interleaved { heads: config.need_size(field)? })
        };
        match self {
            Self::Gpt2 => {
                let map = ["attn.c_attn.weight", ".c_proj.weight", "mlp.c_fc.weight"];
                let transposed = map.iter().any(|end| published.ends_with(end));
                Ok(if transposed { Undo::Transposed } else { Undo::Nothing })
            }
            Self::Llama if published.contains(".q_proj.") => heads("num_attention_heads"),
            Self::Llama if published.contains(".k_proj.") => heads("num_key_value_heads"),
            _ => Ok(Undo::Nothing),
        }
    }
}

/// All tensors of the file by Hugging Face's names. Those that have none keep their own, so that
/// they are reported.
pub(super) fn translate(
    header: &Header,
    architecture: Architecture,
    config: &Fields,
) -> Result<HashMap<String, Stored>> {
    let mut all = HashMap::new();
    for stored in header.tensors.keys().filter(|name| *name != ROPE_FACTORS) {
        let published = architecture.published(stored).unwrap_or_else(|| stored.clone());
        let undo = architecture.undo(&published, config)?;
        all.insert(published, Stored { name: stored.clone(), undo });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn names_go_there_and_back() {
        for (architecture, stored, published) in [
            (Architecture::Llama, "token_embd.weight", "model.embed_tokens.weight"),
            (
                Architecture::Llama,
                "blk.11.ffn_norm.weight",
                "model.layers.11.post_attention_layernorm.weight",
            ),
            (
                Architecture::Gemma3,
                "blk.0.ffn_norm.weight",
                "model.layers.0.pre_feedforward_layernorm.weight",
            ),
            (Architecture::Qwen2, "blk.1.attn_k.bias", "model.layers.1.self_attn.k_proj.bias"),
            (Architecture::Gpt2, "blk.2.attn_qkv.bias", "h.2.attn.c_attn.bias"),
            (Architecture::Gpt2, "output_norm.bias", "ln_f.bias"),
        ] {
            assert_eq!(architecture.published(stored).as_deref(), Some(published));
            assert_eq!(architecture.stored(published), stored);
        }
        assert_eq!(Architecture::Llama.published("blk.0.ffn_gate_inp.weight"), None);
    }

    #[test]
    fn interleaved_heads_come_back_in_halves() -> Result<()> {
        // Two heads of four rows; the converter put rows 0 and 2 of each side by side.
        let stored =
            Tensor::new(&[[0f32], [2.0], [1.0], [3.0], [4.0], [6.0], [5.0], [7.0]], &Device::Cpu)?;
        let back = Undo::Interleaved { heads: 2 }.apply(stored)?;
        assert_eq!(back.dims(), [8, 1]);
        assert_eq!(back.flatten_all()?.to_vec1::<f32>()?, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
        Ok(())
    }
}
