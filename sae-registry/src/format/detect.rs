//! Telling a format by its files.

use super::connor_rob_hook_z::config_path;
use super::names::words;
use super::{At, Converter};
use crate::Error;

/// Files in a folder, all of which must be there.
const FOLDERS: [(&[&str], Converter); 8] = [
    (&["cfg.json", "sae_weights.safetensors"], Converter::SaeLens),
    (&["params.npz"], Converter::Gemma2),
    (&["params.safetensors"], Converter::Gemma3),
    (&["config.json", "ae.pt"], Converter::DictionaryLearning1),
    (&["cfg.json", "sae.safetensors"], Converter::Sparsify),
    (&["hyperparams.json", "checkpoints/final.safetensors"], Converter::LlamaScope),
    (&["config.json", "sae_weights.safetensors"], Converter::LlamaScopeR1Distill),
    (&["conf.yaml", "latest_ckpt.safetensors"], Converter::Temporal),
];
/// Tensors in a file of torch.
const TENSORS: [(&str, Converter); 3] = [
    ("latent_bias", Converter::OpenAi),
    ("encoder_linear.weight", Converter::Goodfire),
    ("encoder.bias", Converter::DeepseekR1),
];

/// The format of what lies there.
///
/// # Errors
/// None of the known formats, or the files cannot be reached.
pub fn detect(at: &At<'_>) -> Result<Converter, Error> {
    let path = at.path();
    let found = if path.ends_with(".pt") || path.ends_with(".pth") {
        of_torch_file(at)?
    } else if path.ends_with(".safetensors") {
        let configs = [at.beside("wandb-config.yaml"), at.beside("wanb-config.yaml")];
        has_one(at, &configs)?.then_some(Converter::MwhannaTranscoder)
    } else {
        of_folder(at)?
    };
    if let Some(found) = found {
        return Ok(found);
    }
    at.require_reach(&at.inside("cfg.json"))?;
    Err(Error::UnknownFormat { name: at.title(), looked_for: looked_for() })
}

fn of_torch_file(at: &At<'_>) -> Result<Option<Converter>, Error> {
    if at.has(&config_path(at))? {
        return Ok(Some(Converter::ConnorRobHookZ));
    }
    if at.path().ends_with(".sae.pt") && at.names().contains("SAE-Res-") {
        return Ok(Some(Converter::QwenScope));
    }
    let names = at.tensors(at.path())?.names();
    let found = TENSORS.iter().find(|(tensor, _)| names.iter().any(|name| name == tensor));
    Ok(found.map(|(_, converter)| *converter))
}

fn of_folder(at: &At<'_>) -> Result<Option<Converter>, Error> {
    for (files, converter) in FOLDERS {
        let mut all = true;
        for file in files {
            all = all && at.has(&at.inside(file))?;
        }
        if all {
            let transcoder = words(at.names()).iter().any(|word| word.starts_with("transcoder"));
            return Ok(Some(match converter {
                Converter::Gemma2 if transcoder => Converter::Gemma2Transcoder,
                converter => converter,
            }));
        }
    }
    let last = at.path().rsplit('/').next().unwrap_or_default();
    if last.parse::<u16>().is_ok() && at.has(&at.beside(&format!("W_enc_{last}.safetensors")))? {
        return Ok(Some(Converter::MntssCltLayerTranscoder));
    }
    if at.path().contains("clt") && at.has(&format!("{}.safetensors", at.path()))? {
        return Ok(Some(Converter::Gemma3));
    }
    Ok(None)
}

fn has_one(at: &At<'_>, paths: &[String]) -> Result<bool, Error> {
    for path in paths {
        if at.has(path)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What formats are known by, for the message.
fn looked_for() -> Vec<String> {
    let folders = FOLDERS.iter().map(|(files, _)| files.join(" + "));
    folders.chain(TENSORS.iter().map(|(tensor, _)| format!(".pt with `{tensor}`"))).collect()
}
