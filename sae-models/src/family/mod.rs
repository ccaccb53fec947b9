//! Model families: how each names its configuration fields and tensors.

mod gpt2;

use sae_core::io::{Fields, Folder};

use crate::checkpoint::Checkpoint;
use crate::config::DecoderConfig;
use crate::weights::Weights;
use crate::{Error, Result};

/// The values of `model_type` that can be loaded.
pub const FAMILIES: &[&str] = &["gpt2"];

/// Configuration and weights of the model in a folder.
pub(crate) fn read(folder: &Folder) -> Result<(DecoderConfig, Weights)> {
    const CONFIG: &str = "config.json";
    let fields = Fields::parse(&folder.path(CONFIG), &folder.read(CONFIG)?)?;
    match fields.text("model_type")?.as_deref() {
        Some("gpt2") => {
            let config = gpt2::config(&fields)?;
            let weights = gpt2::weights(&config, &mut Checkpoint::open(folder)?)?;
            Ok((config, weights))
        }
        Some(got) => Err(Error::UnknownFamily {
            path: fields.path().to_owned(),
            got: got.to_owned(),
            known: FAMILIES,
        }),
        None => Err(fields.wrong("model_type", "the name of a model family").into()),
    }
}
