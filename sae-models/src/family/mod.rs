//! Model families: how each names its configuration fields and tensors.

mod fields;
mod gemma;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod gptj;
mod hooked;
mod llama;
mod opt;
mod parts;
mod phi;
mod rms;
mod rope;

use sae_core::io::{Fields, Folder};

use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::error::nearest;
use crate::gguf::{self, Gguf};
use crate::keep::Keep;
use crate::weights::Weights;
use crate::{Error, Result};

/// A family: the value of `model_type`, and how to read a model of it.
struct Family {
    model_type: &'static str,
    config: fn(&Fields) -> Result<DecoderConfig>,
    weights: fn(&Fields, &DecoderConfig, &mut Checkpoint) -> Result<Weights>,
}

/// The largest size of anything: three times the product of two of them is still a number.
const LARGEST: usize = 1 << 31;

/// TransformerLens' own format, whose configurations name no family.
const OWN: &str = "hooked_transformer";

static TABLE: [Family; 16] = [
    Family { model_type: "gpt2", config: gpt2::config, weights: gpt2::weights },
    Family { model_type: "gpt_neo", config: gpt_neo::config, weights: gpt_neo::weights },
    Family { model_type: "gpt_neox", config: gpt_neox::config, weights: gpt_neox::weights },
    Family { model_type: "gptj", config: gptj::config, weights: gptj::weights },
    Family { model_type: "opt", config: opt::config, weights: opt::weights },
    Family { model_type: "phi", config: phi::config, weights: phi::weights },
    Family { model_type: "llama", config: llama::llama, weights: llama::weights },
    Family { model_type: "mistral", config: llama::mistral, weights: llama::weights },
    Family { model_type: "qwen2", config: llama::qwen2, weights: llama::weights },
    Family { model_type: "qwen3", config: llama::qwen3, weights: llama::weights },
    Family { model_type: "gemma", config: gemma::gemma, weights: gemma::weights },
    Family { model_type: "gemma2", config: gemma::gemma2, weights: gemma::weights },
    Family { model_type: "gemma3_text", config: gemma::gemma3, weights: gemma::weights },
    Family { model_type: "gemma3", config: gemma::gemma3_vision, weights: gemma::weights },
    Family { model_type: OWN, config: hooked::config, weights: hooked::weights },
    Family { model_type: "phi3", config: llama::phi3, weights: llama::weights },
];

/// The values of `model_type` that can be loaded.
pub const FAMILIES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut i = 0;
    while i < TABLE.len() {
        names[i] = TABLE[i].model_type;
        i += 1;
    }
    names
};

/// Configuration and weights of the model in a folder, matrices kept as `keep` says.
pub(crate) fn read(folder: &Folder, keep: Keep) -> Result<(DecoderConfig, Weights)> {
    if let Some(path) = gguf::file_of(folder)? {
        let mut file = Gguf::open(&path)?;
        let fields = file.config().clone().with_sizes_up_to(LARGEST);
        let family = of(&fields)?;
        let mut config = (family.config)(&fields)?;
        if let Some(factors) = file.rope_factors()? {
            rope::divide(&mut config, &factors)?;
        }
        return weights(family, &fields, config, Checkpoint::new(vec![Box::new(file)], keep));
    }
    const CONFIG: &str = "config.json";
    let fields = Fields::parse(&folder.path(CONFIG), &folder.read(CONFIG)?)?;
    let fields = fields.with_sizes_up_to(LARGEST);
    let family = of(&fields)?;
    let config = (family.config)(&fields)?;
    weights(family, &fields, config, Checkpoint::open(folder, keep)?)
}

/// The family that a configuration names.
fn of(fields: &Fields) -> Result<&'static Family> {
    const FIELD: &str = "model_type";
    let own = hooked::is_own(fields).then(|| OWN.to_owned());
    let Some(got) = own.map_or_else(|| fields.text(FIELD), |own| Ok(Some(own)))? else {
        return Err(fields.wrong(FIELD, "the name of a model family").into());
    };
    TABLE.iter().find(|family| family.model_type == got).ok_or_else(|| Error::UnknownFamily {
        path: fields.path().to_owned(),
        field: FIELD,
        nearest: nearest(&got, &FAMILIES),
        got,
        known: &FAMILIES,
    })
}

/// A model of the shape that a configuration describes, with random weights.
pub(crate) fn random(fields: &Fields, seed: u64) -> Result<(DecoderConfig, Weights)> {
    let family = of(fields)?;
    weights(family, fields, (family.config)(fields)?, Checkpoint::random(seed))
}

fn weights(
    family: &Family,
    fields: &Fields,
    config: DecoderConfig,
    mut file: Checkpoint,
) -> Result<(DecoderConfig, Weights)> {
    let weights = (family.weights)(fields, &config, &mut file)?;
    file.check()?;
    Ok((config, weights))
}
