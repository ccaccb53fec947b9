//! `Checkpoint`: the tensors of a model by Hugging Face's names, whatever files they lie in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sae_core::Error as CoreError;
use sae_core::io::{Fields, Folder, NamedTensors, TensorFile, TorchFile, WeightDtype};
use sae_core::ops::Packed;
use serde_json::Value;

use crate::keep::Keep;
use crate::linear::Matrix;
use crate::report::{Misshapen, TensorReport};
use crate::{Error, Result};

/// A file and the index of the files that may stand in its place.
const FORMS: [[&str; 2]; 2] = [
    ["model.safetensors", "model.safetensors.index.json"],
    ["pytorch_model.bin", "pytorch_model.bin.index.json"],
];
/// The state dict of TransformerLens' own models.
const STATE_DICT: &str = "model_final.pth";
const EXPECTED: [&str; 6] =
    [FORMS[0][0], FORMS[0][1], FORMS[1][0], FORMS[1][1], STATE_DICT, "a file that ends in .gguf"];

/// One file of tensors.
pub(crate) trait Shard {
    /// The file, for messages.
    fn path(&self) -> &Path;
    /// Hugging Face's names of its tensors.
    fn names(&self) -> Vec<String>;
    /// Shape of a tensor, if it is there.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;
    /// A tensor, kept as `dtype` or, without it, in the type in which it is stored.
    fn read(&mut self, name: &str, dtype: Option<WeightDtype>) -> Result<Tensor>;
    /// A matrix by output, `[d_out, d_in]`, as it is packed in the file, if it is.
    fn packed(&mut self, _name: &str) -> Result<Option<Packed>> {
        Ok(None)
    }
    /// What the file itself calls a tensor, for messages.
    fn stored_name(&self, name: &str) -> String {
        name.to_owned()
    }
    /// Gains of norms are stored whole, also by families that publish them less one.
    fn gains_are_whole(&self) -> bool {
        false
    }
}

impl Shard for TensorFile {
    fn path(&self) -> &Path {
        self.path()
    }

    fn names(&self) -> Vec<String> {
        self.names()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.shape(name).map(<[usize]>::to_vec)
    }

    fn read(&mut self, name: &str, dtype: Option<WeightDtype>) -> Result<Tensor> {
        let dtype = dtype.or_else(|| self.kept_as(name)).unwrap_or_default();
        Ok(self.tensor_as(name, dtype)?)
    }
}

impl Shard for TorchFile {
    fn path(&self) -> &Path {
        NamedTensors::path(self)
    }

    fn names(&self) -> Vec<String> {
        NamedTensors::names(self)
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        NamedTensors::shape(self, name).map(<[usize]>::to_vec)
    }

    fn read(&mut self, name: &str, dtype: Option<WeightDtype>) -> Result<Tensor> {
        let stored = self.kept_as(name);
        match dtype.or(stored).unwrap_or_default() {
            WeightDtype::F32 => Ok(self.tensor(name)?),
            dtype if Some(dtype) == stored => Ok(self.raw(name)?),
            dtype => Ok(self.tensor(name)?.to_dtype(dtype.dtype())?),
        }
    }
}

/// Tensors that are made up: of any name and shape, the same for the same seed.
struct Invented {
    rng: ChaCha8Rng,
}

impl Invented {
    /// Uniform values: gains near one, small biases, matrices that keep the size of what they
    /// multiply.
    #[allow(clippy::cast_precision_loss)]
    fn tensor(&mut self, name: &str, shape: &[usize], dtype: WeightDtype) -> Result<Tensor> {
        let narrowest = shape.iter().copied().min().unwrap_or(1).max(1);
        let (mean, std) = match shape.len() {
            1 if is_gain(name) => (1.0, 0.2),
            1 => (0.0, 0.2),
            _ => (0.0, 1.0 / (narrowest as f32).sqrt()),
        };
        let half_width = std * 3f32.sqrt();
        let mut values = vec![0f32; shape.iter().product()];
        let rng = &mut self.rng;
        values.fill_with(|| mean + half_width * (2.0 * rng.random::<f32>() - 1.0));
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        Ok(tensor.to_dtype(dtype.dtype())?)
    }
}

/// Whether a vector of this name is the gain of a norm, in any family.
fn is_gain(name: &str) -> bool {
    name.ends_with(".w") || name.ends_with(".weight")
}

/// An open checkpoint. Tensors are read one at a time, each once.
///
/// What does not fit is collected, and tensors of zeros stand in for it until [`Checkpoint::check`]
/// reports all of it.
pub(crate) struct Checkpoint {
    /// What the whole is called in messages.
    path: PathBuf,
    shards: Vec<Box<dyn Shard>>,
    /// Tensor name to shard.
    places: BTreeMap<String, usize>,
    prefix: &'static str,
    used: BTreeSet<String>,
    ignored: fn(&str) -> bool,
    keep: Keep,
    report: TensorReport,
    /// Values that may still be asked for: twice those that are there.
    left: usize,
    /// Every tensor is made up.
    invented: Option<Invented>,
}

impl Checkpoint {
    /// Open the weights of a folder; matrices are kept as `keep` says.
    pub(crate) fn open(folder: &Folder, keep: Keep) -> Result<Self> {
        for [single, index] in FORMS {
            if folder.has(single) {
                return Ok(Self::new(vec![open(folder, single)?], keep));
            }
            if folder.has(index) {
                let files = listed(folder, index)?;
                let shards = files.iter().map(|file| open(folder, file)).collect::<Result<_>>()?;
                let path = folder.path(index);
                return Ok(Self { path, ..Self::new(shards, keep) });
            }
        }
        if folder.has(STATE_DICT) {
            return Ok(Self::new(vec![open(folder, STATE_DICT)?], keep));
        }
        Err(Error::NoWeights { path: folder.path(""), expected: &EXPECTED })
    }

    /// The tensors of these files; matrices are kept as `keep` says.
    pub(crate) fn new(shards: Vec<Box<dyn Shard>>, keep: Keep) -> Self {
        let mut places = BTreeMap::new();
        let mut there = 0usize;
        for (i, shard) in shards.iter().enumerate() {
            for name in shard.names() {
                let values = shard.shape(&name).unwrap_or_default().iter().product();
                there = there.saturating_add(values);
                places.insert(name, i);
            }
        }
        Self {
            path: shards.first().map(|shard| shard.path().to_owned()).unwrap_or_default(),
            shards,
            places,
            prefix: "",
            used: BTreeSet::new(),
            ignored: |_| false,
            keep,
            report: TensorReport::default(),
            left: there.saturating_mul(2),
            invented: None,
        }
    }

    /// Every tensor that is asked for, with random values.
    pub(crate) fn random(seed: u64) -> Self {
        let invented = Some(Invented { rng: ChaCha8Rng::seed_from_u64(seed) });
        Self { invented, ..Self::new(Vec::new(), Keep::default()) }
    }

    /// Prefixes that the model's tensors may have; the first that any tensor has counts.
    pub(crate) fn set_prefix(&mut self, prefixes: &[&'static str]) {
        let has = |prefix: &str| self.places.keys().any(|name| name.starts_with(prefix));
        self.prefix = prefixes.iter().find(|prefix| has(prefix)).copied().unwrap_or_default();
    }

    /// Tensors that may be there and are of no use.
    pub(crate) fn ignore(&mut self, which: fn(&str) -> bool) {
        self.ignored = which;
    }

    /// Gains of norms are stored whole, also by families that publish them less one.
    pub(crate) fn gains_are_whole(&self) -> bool {
        self.invented.is_some() || self.shards.iter().any(|shard| shard.gains_are_whole())
    }

    /// The tensor `name` under the prefix: vectors in f32, the rest as matrices are kept.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let dtype = if shape.len() > 1 { self.keep.dtype() } else { Some(WeightDtype::F32) };
        self.named(format!("{}{name}", self.prefix), shape, dtype)
    }

    /// As [`Checkpoint::take`], in f32 whatever the shape.
    pub(crate) fn take_wide(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.named(format!("{}{name}", self.prefix), shape, Some(WeightDtype::F32))
    }

    /// The tensor `name`, which stands outside the prefix, if it is there.
    pub(crate) fn take_outside(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        match self.has_outside(name) {
            true => self.named(name.to_owned(), shape, self.keep.dtype()).map(Some),
            false => Ok(None),
        }
    }

    /// Whether there is a tensor `name` outside the prefix.
    pub(crate) fn has_outside(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The unembedding `name`, `[d_vocab, d_model]`: a table of its own, or the token embedding
    /// where the configuration ties them or says nothing and the file has no table.
    pub(crate) fn unembedding(
        &mut self,
        name: &str,
        tied: Option<bool>,
        tokens: &Matrix,
    ) -> Result<Matrix> {
        if tied == Some(true) {
            // A copy of the embedding, if it is there.
            self.used.insert(name.to_owned());
            return Ok(tokens.clone());
        }
        if tied == Some(false) || self.has_outside(name) {
            let (d_model, d_vocab) = tokens.dims()?;
            return self.by_output(name.to_owned(), &[d_vocab, d_model]);
        }
        Ok(tokens.clone())
    }

    /// The matrix of a map under the prefix, stored by output as PyTorch's `Linear` does: `[d_out, d_in]`.
    pub(crate) fn matrix(&mut self, name: &str, shape: &[usize; 2]) -> Result<Matrix> {
        self.by_output(format!("{}{name}", self.prefix), shape)
    }

    /// The matrix of a map under the prefix, stored by input: `[d_in, d_out]`.
    pub(crate) fn matrix_by_input(&mut self, name: &str, shape: &[usize; 2]) -> Result<Matrix> {
        match self.packed(&format!("{}{name}", self.prefix), shape)? {
            Some(packed) => Ok(Matrix::Packed(packed)),
            None => Ok(Matrix::Plain(self.take(name, shape)?)),
        }
    }

    fn by_output(&mut self, name: String, shape: &[usize; 2]) -> Result<Matrix> {
        match self.packed(&name, shape)? {
            Some(packed) => Ok(Matrix::Packed(packed)),
            None => Ok(Matrix::Plain(self.named(name, shape, self.keep.dtype())?.t()?)),
        }
    }

    /// A matrix as it is packed in its file, if it is, and if that is asked for and its shape is right.
    fn packed(&mut self, name: &str, shape: &[usize; 2]) -> Result<Option<Packed>> {
        let place = self.places.get(name).filter(|_| self.keep == Keep::Stored);
        let Some(shard) = place.map(|i| &mut self.shards[*i]) else { return Ok(None) };
        if shard.shape(name).as_deref() != Some(shape) || !self.report.is_empty() {
            return Ok(None);
        }
        let packed = shard.packed(name)?;
        if packed.is_some() {
            self.used.insert(name.to_owned());
        }
        Ok(packed)
    }

    fn named(
        &mut self,
        name: String,
        shape: &[usize],
        dtype: Option<WeightDtype>,
    ) -> Result<Tensor> {
        if let Some(invented) = &mut self.invented {
            return invented.tensor(&name, shape, dtype.unwrap_or_default());
        }
        self.used.insert(name.clone());
        let wanted = shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis));
        let left = wanted.and_then(|n| self.left.checked_sub(n));
        let place = self.places.get(&name).copied();
        match place.map(|i| (i, self.shards[i].shape(&name).unwrap_or_default())) {
            Some((i, got)) if got == shape && self.report.is_empty() => {
                return self.shards[i].read(&name, dtype);
            }
            // One problem is enough to read no more.
            Some((_, got)) if got == shape => {}
            Some((i, got)) => {
                let name = self.shards[i].stored_name(&name);
                self.report.misshapen.push(Misshapen { name, got, want: shape.to_vec() });
            }
            None => {
                let stored = self.shards.first().map(|shard| shard.stored_name(&name));
                self.report.missing.push((stored.unwrap_or(name), shape.to_vec()));
            }
        }
        match left {
            Some(left) => {
                self.left = left;
                let zero = Tensor::zeros(1, dtype.unwrap_or_default().dtype(), &Device::Cpu)?;
                Ok(zero.broadcast_as(shape)?)
            }
            // The configuration is of another model: to go on would only cost memory.
            None => Err(self.reported()),
        }
    }

    /// Everything was found, and every tensor was used or is known to be of no use.
    pub(crate) fn check(mut self) -> Result<()> {
        let odd = |name: &&String| !self.used.contains(*name) && !(self.ignored)(name);
        let odd = self.places.iter().filter(|(name, _)| odd(name));
        self.report.unexpected = odd.map(|(name, i)| self.shards[*i].stored_name(name)).collect();
        if self.report.is_empty() { Ok(()) } else { Err(self.reported()) }
    }

    fn reported(&mut self) -> Error {
        Error::Tensors { path: self.path.clone(), report: std::mem::take(&mut self.report) }
    }
}

fn open(folder: &Folder, file: &str) -> Result<Box<dyn Shard>> {
    let by_torch = file.ends_with(".bin") || file.ends_with(".pth");
    Ok(match (by_torch, folder) {
        (true, Folder::Disk(dir)) => Box::new(TorchFile::open(&dir.join(file))?),
        (true, _) => Box::new(TorchFile::from_bytes(folder.path(file), folder.read(file)?)?),
        (false, _) => Box::new(folder.tensors(file)?),
    })
}

/// The files that an index lists; names that lead out of the folder are refused.
fn listed(folder: &Folder, index: &str) -> Result<BTreeSet<String>> {
    let fields = Fields::parse(&folder.path(index), &folder.read(index)?)?;
    let wrong =
        || -> CoreError { fields.wrong("weight_map", "an object of tensor names and file names") };
    let Some(Value::Object(map)) = fields.get("weight_map") else { return Err(wrong().into()) };
    let mut files = BTreeSet::new();
    for file in map.values() {
        match file.as_str() {
            Some(name) if !name.contains(['/', '\\']) && name != ".." => {
                files.insert(name.to_owned())
            }
            _ => return Err(wrong().into()),
        };
    }
    Ok(files)
}
