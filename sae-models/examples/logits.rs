//! Logits of a model on rows of token ids, as safetensors: what `scripts/compare_transformers.py`
//! compares. The tokens of a text too, so that tokenizers can be compared.
//!
//! usage: logits MODEL OUTPUT < prompts.json
//!
//! MODEL is a folder in Hugging Face layout or a GGUF file, whose weights stay as they are there. Prompts are `{"name": "a text", ..}`.
//! Written are `{name}.ids`, as f32, and `{name}.logits`, `[pos, d_vocab]`.

use std::io::Read;
use std::path::PathBuf;

use candle_core::Tensor;
use sae_core::hook::Plan;
use sae_core::io::{Folder, write_tensors};
use sae_core::model::{Batch, HookedModel};
use sae_models::tokenizer::{PrependBos, Tokenizer};
use sae_models::{Decoder, Keep, LoadOptions, Processing};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(model), Some(output)) = (args.next(), args.next()) else {
        return Err("usage: logits MODEL OUTPUT < prompts.json".into());
    };
    let mut prompts = String::new();
    std::io::stdin().read_to_string(&mut prompts)?;
    let prompts: std::collections::BTreeMap<String, String> = serde_json::from_str(&prompts)?;
    let folder = Folder::disk(model);
    let options = LoadOptions { processing: Processing::NONE, weights: Keep::Stored };
    let model = Decoder::load_with(&folder, options)?;
    let tokenizer = Tokenizer::load(&folder, model.spec().n_ctx)?;
    let mut tensors = Vec::new();
    for (name, text) in prompts {
        let ids = tokenizer.to_tokens(&text, PrependBos::Yes)?;
        let run = model.run(&Batch::single(&ids)?, &Plan::new())?;
        let ids = Tensor::new(ids, &candle_core::Device::Cpu)?;
        tensors.push((format!("{name}.ids"), ids.to_dtype(candle_core::DType::F32)?));
        tensors.push((format!("{name}.logits"), run.require_logits()?.squeeze(0)?));
    }
    write_tensors(&output, tensors)?;
    Ok(())
}
