//! Reading an SAE from a SAELens directory.

use candle_core::Tensor;

use super::{CFG_FILE, SPARSITY_FILE, WEIGHTS_FILE, parse_config};
use crate::arch::{WeightSource, build};
use crate::io::{Fields, Folder, TensorFile};
use crate::sae::Sae;
use crate::{Error, Result};

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
    let mut spec = parse_config(fields)?;
    let mut source = Weights::new(folder.tensors(WEIGHTS_FILE)?)?;
    const FINETUNED: &str = "finetuning_scaling_factor";
    source.settle_scaling_factor(spec.d_sae, spec.metadata.contains_key(FINETUNED))?;
    if source.scaling_factor.is_none() {
        spec.metadata.remove(FINETUNED);
    }
    let trainer_scaled = spec.normalize_activations == crate::sae::Normalize::ExpectedAverageOnlyIn;
    let mut sae = build(spec, &mut source)?;
    let mut report = source.report();
    match options.norm_scaling_factor {
        Some(scale) => sae.fold_activation_norm_scaling_factor(scale)?,
        None if trainer_scaled => report.notes.push(
            "trained on activations scaled to an expected norm, and no scale was given to fold: \
             feed it scaled activations"
                .to_owned(),
        ),
        None => {}
    }
    if options.fold_w_dec_norm {
        sae.fold_w_dec_norm()?;
    }
    let log_sparsity = match folder.has(SPARSITY_FILE) {
        true => Some(folder.tensors(SPARSITY_FILE)?.take("sparsity", &[sae.spec().d_sae])?),
        false => None,
    };
    Ok(Loaded { sae, log_sparsity, report })
}

/// The weights file, minding which tensors were used.
struct Weights {
    file: TensorFile,
    used: Vec<String>,
    scaling_factor: Option<Tensor>,
}

impl Weights {
    fn new(file: TensorFile) -> Result<Self> {
        Ok(Self { file, used: Vec::new(), scaling_factor: None })
    }

    /// Versions 3 to 5 wrote a `scaling_factor` always. All ones means nothing; anything else
    /// needs the flag that says it was finetuned.
    fn settle_scaling_factor(&mut self, d_sae: usize, finetuned: bool) -> Result<()> {
        const NAME: &str = "scaling_factor";
        let Some(factor) = self.file.take_if_there(NAME, &[d_sae])? else { return Ok(()) };
        self.used.push(NAME.to_owned());
        #[allow(clippy::float_cmp)] // exactly one, as it was initialised
        let all_ones = factor.to_vec1::<f32>()?.iter().all(|f| *f == 1.0);
        match (all_ones, finetuned) {
            (true, _) => {}
            (false, true) => self.scaling_factor = Some(factor),
            (false, false) => {
                let problem = "tensor `scaling_factor` is not all ones, but cfg.json does not say \
                               `finetuning_scaling_factor: true`";
                let path = self.file.path().to_owned();
                return Err(Error::BadFile { path, problem: problem.to_owned() });
            }
        }
        Ok(())
    }

    fn report(&self) -> LoadReport {
        let unused = self.file.names().into_iter().filter(|n| !self.used.contains(n)).collect();
        LoadReport { unused, notes: Vec::new() }
    }
}

impl WeightSource for Weights {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        match self.take_if_there(name, shape)? {
            Some(tensor) => Ok(tensor),
            None => self.file.take(name, shape),
        }
    }

    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        if name == "finetuning_scaling_factor" && self.scaling_factor.is_some() {
            return Ok(self.scaling_factor.take());
        }
        self.used.push(name.to_owned());
        match self.file.take_if_there(name, shape)? {
            // Training checkpoints of versions 5 to 6.53 hold the logarithm.
            None if name == "threshold" => {
                const LOG: &str = "log_threshold";
                self.used.push(LOG.to_owned());
                Ok(self.file.take_if_there(LOG, shape)?.map(|log| log.exp()).transpose()?)
            }
            found => Ok(found),
        }
    }
}
