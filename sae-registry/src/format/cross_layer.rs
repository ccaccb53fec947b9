//! Whole cross-layer transcoders, in the layout of `circuit-tracer` (the repositories `mntss/clt-*`): for each
//! layer `W_enc_{n}.safetensors` and `W_dec_{n}.safetensors`, and one `config.yaml`.

use std::path::Path;

use candle_core::Tensor;
use sae_core::arch::{CrossLayer, CrossLayerTranscoder};
use sae_core::fetch::{Fetch, RemoteFile};
use sae_core::hook::HookName;
use sae_core::io::{Fields, NamedTensors};

use super::At;
use super::names::unknown;
use crate::Error;
use crate::local::Local;

/// A cross-layer transcoder, and where in the model it belongs.
#[derive(Clone, Debug)]
pub struct PublishedCrossLayer {
    /// All layers; it is in memory as a whole.
    pub transcoder: CrossLayerTranscoder,
    /// The model that it was trained on.
    pub model_name: String,
    /// What each layer reads.
    pub reads: Vec<HookName>,
    /// What each layer writes in the place of.
    pub writes: Vec<HookName>,
}

/// Load the cross-layer transcoder in `folder` of a repository (empty for its root).
///
/// # Errors
/// A file cannot be fetched or is not what the layout has there, or a layer is missing.
pub fn load_cross_layer(
    fetch: &dyn Fetch,
    repo_id: &str,
    folder: &str,
) -> Result<PublishedCrossLayer, Error> {
    read(&At::new(fetch, repo_id, folder, RemoteFile::MAIN))
}

/// Load the cross-layer transcoder of a local folder.
///
/// # Errors
/// As [`load_cross_layer`].
pub fn load_cross_layer_path(folder: &Path) -> Result<PublishedCrossLayer, Error> {
    read(&Local::new(folder)?.at())
}

fn read(at: &At<'_>) -> Result<PublishedCrossLayer, Error> {
    let config = at.yaml(&at.inside("config.yaml"))?;
    let mut layers = Vec::new();
    // As many as there are: that they are all there is for the decoders' shapes to say.
    while at.has(&encoder_file(at, layers.len()))? {
        layers.push(layer(at, layers.len())?);
    }
    if layers.is_empty() {
        return Err(unknown(
            at,
            "layers",
            "files `W_enc_0.safetensors`, `W_enc_1.safetensors`, ..",
        ));
    }
    let hooks = |field: &str| hooks(&config, field, layers.len());
    Ok(PublishedCrossLayer {
        model_name: text(&config, "model_name")?,
        reads: hooks("feature_input_hook")?,
        writes: hooks("feature_output_hook")?,
        transcoder: CrossLayerTranscoder::new(layers)?,
    })
}

fn encoder_file(at: &At<'_>, n: usize) -> String {
    at.inside(&format!("W_enc_{n}.safetensors"))
}

fn layer(at: &At<'_>, n: usize) -> Result<CrossLayer, Error> {
    let mut encoder = at.tensors(&encoder_file(at, n))?;
    let mut decoder = at.tensors(&at.inside(&format!("W_dec_{n}.safetensors")))?;
    let named = |name: &str| format!("{name}_{n}");
    let transposed = |w: Tensor| Ok::<_, Error>(w.t().and_then(|w| w.contiguous()).map_err(core)?);
    Ok(CrossLayer {
        w_enc: transposed(encoder.tensor(&named("W_enc"))?)?,
        b_enc: encoder.tensor(&named("b_enc"))?,
        threshold: maybe(encoder.as_mut(), &named("threshold"))?,
        w_dec: decoder.tensor(&named("W_dec"))?,
        b_dec: encoder.tensor(&named("b_dec"))?,
        w_skip: None,
    })
}

fn maybe(file: &mut dyn NamedTensors, name: &str) -> Result<Option<Tensor>, Error> {
    let there = file.shape(name).is_some();
    Ok(if there { Some(file.tensor(name)?) } else { None })
}

fn core(e: candle_core::Error) -> sae_core::Error {
    e.into()
}

fn text(config: &Fields, field: &str) -> Result<String, Error> {
    Ok(config.text(field)?.ok_or_else(|| config.wrong(field, "a text"))?)
}

/// `hook_resid_mid` -> that hook of each layer.
fn hooks(config: &Fields, field: &str, n_layers: usize) -> Result<Vec<HookName>, Error> {
    let site = text(config, field)?;
    let hook = |layer: usize| format!("blocks.{layer}.{site}").parse();
    let found: Result<Vec<HookName>, _> = (0..n_layers).map(hook).collect();
    found.map_err(|_| config.wrong(field, "a hook of a block").into())
}
