//! Reading an SAE from a SAELens directory.

use candle_core::Tensor;

use super::{CFG_FILE, SPARSITY_FILE, WEIGHTS_FILE, assemble, parse_config};
use crate::Result;
use crate::arch::WeightSource;
use crate::io::{Fields, Folder, TensorFile};
use crate::sae::Sae;

/// What to do with the weights after reading them.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Fold the trainer's input scale into the weights (the registry's `norm_scaling_factor`).
    pub norm_scaling_factor: Option<f64>,
    /// Fold decoder norms into the encoder.
    pub fold_w_dec_norm: bool,
}

/// An SAE and what was met on the way.
pub struct Loaded {
    /// The SAE, in f32.
    pub sae: Box<dyn Sae>,
    /// log10 of how often each latent fires, `[d_sae]`, where the directory has it.
    pub log_sparsity: Option<Tensor>,
    /// What was met on the way.
    pub report: LoadReport,
}

/// What was met while loading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Tensors of the file that the SAE has no use for.
    pub unused: Vec<String>,
    /// Things a user should know.
    pub notes: Vec<String>,
}

/// Load the SAE of a directory.
///
/// # Errors
/// A file is missing or damaged, a field or tensor is not what it should be, or a fold is not
/// possible for the architecture.
pub fn load(folder: &Folder, options: LoadOptions) -> Result<Loaded> {
    let fields = Fields::parse(&folder.path(CFG_FILE), &folder.read(CFG_FILE)?)?;
    let mut weights = Weights { file: folder.tensors(WEIGHTS_FILE)?, used: Vec::new() };
    let path = weights.file.path().to_owned();
    let (sae, notes) = assemble(parse_config(fields)?, &mut weights, &path, options)?;
    let log_sparsity = match folder.has(SPARSITY_FILE) {
        true => Some(folder.tensors(SPARSITY_FILE)?.take("sparsity", &[sae.spec().d_sae])?),
        false => None,
    };
    let report = LoadReport { unused: weights.unused(), notes };
    Ok(Loaded { sae, log_sparsity, report })
}

/// The weights file, minding which tensors were used.
struct Weights {
    file: TensorFile,
    used: Vec<String>,
}

impl Weights {
    fn unused(&self) -> Vec<String> {
        self.file.names().into_iter().filter(|n| !self.used.contains(n)).collect()
    }
}

impl WeightSource for Weights {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.used.push(name.to_owned());
        self.file.take(name, shape)
    }

    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        self.used.push(name.to_owned());
        self.file.take_if_there(name, shape)
    }
}
