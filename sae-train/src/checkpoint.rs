//! Checkpoints: everything needed to go on as if nothing had happened, bit for bit.
//!
//! A checkpoint is a folder named by the rows trained on. It is written under another name and
//! renamed, so that one that is there is complete. Weights and configuration lie in it as SAELens
//! writes those of an SAE in training, before any fold. Numbers of f64 that are kept as text are written
//! as strings: JSON readers may round numbers.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use sae_core::io::{TensorFile, write_atomic, write_tensors};
use sae_core::sae::Whitening;
use sae_core::sae_lens::{CFG_FILE, SPARSITY_FILE, WEIGHTS_FILE};
use sae_core::source::Position;
use serde_json::{Map, Value, json};

use crate::adam::{Adam, Betas};
use crate::counters::Counters;
use crate::export::tensor;
use crate::params::Params;
use crate::scale::Scale;
use crate::trained::sparsity;
use crate::trainer::State;
use crate::{Error, Result};

const MOMENTS: &str = "optimizer.safetensors";
const STATE: &str = "trainer_state.json";
const WHITENING: &str = "activation_whitening.safetensors";
/// SAELens' name of the threshold of BatchTopK SAEs, a number in f64 among the weights.
pub(crate) const TOPK_THRESHOLD: &str = "topk_threshold";
const VERSION: u64 = 2;

/// A trainer's state and where its source stood.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Weights, moments, counters.
    pub state: State,
    /// The next row of the source.
    pub source: Position,
    /// What is done to activations first.
    pub scale: Scale,
}

impl Checkpoint {
    /// Write into `dir`, under the number of rows; back comes the checkpoint's own folder.
    ///
    /// `config` is kept with it, and must be the same when it is read; `cfg` is what SAELens knows of the
    /// SAE.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, dir: &Path, config: &Value, cfg: &Map<String, Value>) -> Result<PathBuf> {
        let name = self.state.n_training_samples.to_string();
        let (path, partial) = (dir.join(&name), dir.join(format!(".{name}.partial")));
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(io(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(io(&partial))?;
        let state = &self.state;
        let mut weights = tensors(&state.params)?;
        if let Some(threshold) = state.topk_threshold {
            weights.push((TOPK_THRESHOLD, Tensor::new(threshold, &Device::Cpu)?));
        }
        write_tensors(&partial.join(WEIGHTS_FILE), weights)?;
        let text = format!("{:#}\n", Value::Object(cfg.clone()));
        write_atomic(&partial.join(CFG_FILE), text.as_bytes())?;
        let sparsity = sparsity(&state.counters.log_density())?;
        write_tensors(&partial.join(SPARSITY_FILE), [("sparsity", sparsity)])?;
        if let Scale::Whitening(map) = &self.scale {
            let tensors =
                [("mean", map.mean()), ("matrix", map.matrix()), ("inverse_matrix", map.inverse())];
            let tensors = tensors.map(|(name, tensor)| (name, tensor.clone()));
            write_tensors(&partial.join(WHITENING), tensors)?;
        }
        let mut moments = Vec::new();
        for (prefix, params) in [("mean", &state.adam.mean), ("square", &state.adam.square)] {
            for (name, values) in params.tensors() {
                moments.push((format!("{prefix}.{name}"), tensor("", values, &[values.len()])?));
            }
        }
        let moments = moments.iter().map(|(name, tensor)| (name.as_str(), tensor.clone()));
        write_tensors(&partial.join(MOMENTS), moments)?;
        let text = json!({
            "version": VERSION,
            "config": config,
            "n_training_steps": state.n_training_steps,
            "n_training_samples": state.n_training_samples,
            "adam_steps": state.adam.steps,
            "beta1": state.adam.betas.beta1.to_string(),
            "beta2": state.adam.betas.beta2.to_string(),
            "source_row": self.source.row,
            "scaling_factor": self.scale.factor().map(|factor| factor.to_string()),
            "window_rows": state.counters.rows,
            "passes_since_fired": state.counters.passes_since_fired,
            "act_freq": state.counters.act_freq,
        });
        write_atomic(&partial.join(STATE), format!("{text}\n").as_bytes())?;
        if path.exists() {
            // The same state was written before; this one is as good.
            fs::remove_dir_all(&path).map_err(io(&path))?;
        }
        fs::rename(&partial, &path).map_err(io(&path))?;
        Ok(path)
    }

    /// The checkpoint in `dir` that has seen the most rows; `None` if there is none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn latest(dir: &Path) -> Result<Option<PathBuf>> {
        if !dir.is_dir() {
            return Ok(None);
        }
        let io = |source| Error::Io { path: dir.to_owned(), source };
        let mut best = None;
        for entry in fs::read_dir(dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let rows = path.file_name().and_then(|n| n.to_str()?.parse::<u64>().ok());
            if let Some(rows) = rows.filter(|_| path.join(STATE).is_file())
                && best.as_ref().is_none_or(|(most, _)| rows > *most)
            {
                best = Some((rows, path));
            }
        }
        Ok(best.map(|(_, path)| path))
    }

    /// Read a checkpoint of weights shaped like `like`, written under the same `config`.
    ///
    /// # Errors
    /// A file is missing or broken, or the checkpoint is of another run.
    pub fn read(path: &Path, like: &Params, config: &Value) -> Result<Self> {
        let file = path.join(STATE);
        let wrong = |problem: String| Error::Checkpoint { path: file.clone(), problem };
        let text = fs::read(&file).map_err(|source| Error::Io { path: file.clone(), source })?;
        let json: Value =
            serde_json::from_slice(&text).map_err(|e| wrong(format!("not JSON: {e}")))?;
        if json["version"].as_u64() != Some(VERSION) {
            return Err(wrong(format!("version {}, expected {VERSION}", json["version"])));
        }
        if let Some(field) = difference(&json["config"], config) {
            let (there, here) = (&json["config"][&field], &config[&field]);
            return Err(wrong(format!(
                "was written with `{field}` = {there}, this run has {here}; start anew in another \
                 folder, or restore the configuration"
            )));
        }
        let count = |field: &str| {
            json[field].as_u64().ok_or_else(|| wrong(format!("`{field}` is not a whole number")))
        };
        let counts = |field: &str| -> Result<Vec<u64>> {
            let list = json[field].as_array().map(|l| l.iter().filter_map(Value::as_u64));
            let list: Vec<u64> = list.map(Iterator::collect).unwrap_or_default();
            if list.len() == like.d_sae {
                return Ok(list);
            }
            Err(wrong(format!("`{field}` has {} numbers, expected {}", list.len(), like.d_sae)))
        };
        let number = |field: &str| {
            let number = json[field].as_str().and_then(|text| text.parse::<f64>().ok());
            number.ok_or_else(|| wrong(format!("`{field}` is not a number")))
        };
        let weights = path.join(WEIGHTS_FILE);
        let params = read_tensors(&weights, like, "")?;
        let scale = match (path.join(WHITENING), &json["scaling_factor"]) {
            (file, _) if file.is_file() => Scale::Whitening(Box::new(read_whitening(&file)?)),
            (_, Value::Null) => Scale::None,
            _ => Scale::Factor(number("scaling_factor")?),
        };
        let moments = path.join(MOMENTS);
        let adam = Adam {
            mean: read_tensors(&moments, like, "mean.")?,
            square: read_tensors(&moments, like, "square.")?,
            steps: count("adam_steps")?,
            betas: Betas { beta1: number("beta1")?, beta2: number("beta2")? },
        };
        let counters = Counters {
            passes_since_fired: counts("passes_since_fired")?,
            act_freq: counts("act_freq")?,
            rows: count("window_rows")?,
        };
        Ok(Self {
            state: State {
                params,
                adam,
                counters,
                topk_threshold: read_threshold(&weights)?,
                n_training_steps: count("n_training_steps")?,
                n_training_samples: count("n_training_samples")?,
            },
            source: Position { row: count("source_row")? },
            scale,
        })
    }
}

/// The first field in which two objects differ.
fn difference(a: &Value, b: &Value) -> Option<String> {
    let keys = |v: &Value| v.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>());
    let all = keys(a).into_iter().chain(keys(b)).flatten();
    all.into_iter().find(|key| a[key] != b[key])
}

/// Every tensor in SAELens' shape.
fn tensors(params: &Params) -> Result<Vec<(&'static str, Tensor)>> {
    let shape = |name: &str| match name {
        "W_enc" => vec![params.d_in, params.d_sae],
        "W_dec" => vec![params.d_sae, params.d_in],
        "b_dec" => vec![params.d_in],
        _ => vec![params.d_sae],
    };
    params.tensors().map(|(name, values)| Ok((name, tensor(name, values, &shape(name))?))).collect()
}

fn read_whitening(path: &Path) -> Result<Whitening> {
    let mut file = TensorFile::open(path)?;
    let (mean, matrix) = (file.raw("mean")?, file.raw("matrix")?);
    Ok(Whitening::new(&mean, &matrix, &file.raw("inverse_matrix")?)?)
}

/// The threshold of a BatchTopK SAE, where the weights have one.
pub(crate) fn read_threshold(path: &Path) -> Result<Option<f64>> {
    let mut file = TensorFile::open(path)?;
    if file.shape(TOPK_THRESHOLD).is_none() {
        return Ok(None);
    }
    let values = file.raw(TOPK_THRESHOLD)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    match values[..] {
        [threshold] => Ok(Some(threshold)),
        _ => {
            let problem = format!("`{TOPK_THRESHOLD}` has {} numbers, expected 1", values.len());
            Err(Error::Checkpoint { path: path.to_owned(), problem })
        }
    }
}

/// Weights shaped like `like` that a file has under their names after `prefix`.
pub(crate) fn read_tensors(path: &Path, like: &Params, prefix: &str) -> Result<Params> {
    let mut file = TensorFile::open(path)?;
    let mut params = like.zeros_like();
    let (d_in, d_sae) = (params.d_in, params.d_sae);
    for (name, values) in params.tensors_mut() {
        let read = file.f32s(&format!("{prefix}{name}"))?;
        if read.len() != values.len() {
            let problem =
                format!("`{prefix}{name}` has {} numbers, expected {}", read.len(), values.len());
            return Err(Error::Checkpoint { path: path.to_owned(), problem });
        }
        if name == "W_enc" && prefix.is_empty() {
            for (latent, row) in values.chunks_exact_mut(d_in.max(1)).enumerate() {
                row.iter_mut().enumerate().for_each(|(i, w)| *w = read[i * d_sae + latent]);
            }
        } else {
            values.copy_from_slice(&read);
        }
    }
    Ok(params)
}
