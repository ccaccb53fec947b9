//! `Checkpoint`: the tensors of a model, in one safetensors file or in shards.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use sae_core::arch::WeightSource;
use sae_core::io::{Fields, Folder, TensorFile};
use serde_json::Value;

use crate::Result;
use sae_core::Error;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// An open checkpoint. Tensors are read one at a time, each once.
pub(crate) struct Checkpoint {
    shards: Vec<TensorFile>,
    /// Tensor name to shard.
    places: BTreeMap<String, usize>,
    prefix: &'static str,
    used: BTreeSet<String>,
    ignored: fn(&str) -> bool,
}

impl Checkpoint {
    /// Open `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    pub(crate) fn open(folder: &Folder) -> Result<Self> {
        let files = if folder.has(SINGLE) || !folder.has(INDEX) {
            vec![SINGLE.to_owned()]
        } else {
            shards(folder)?
        };
        let shards = files.iter().map(|f| folder.tensors(f)).collect::<Result<Vec<_>, Error>>()?;
        let mut places = BTreeMap::new();
        for (i, shard) in shards.iter().enumerate() {
            places.extend(shard.names().into_iter().map(|name| (name, i)));
        }
        Ok(Self { shards, places, prefix: "", used: BTreeSet::new(), ignored: |_| false })
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

    /// The tensor `name` under the prefix, in f32.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        let shard = self.places.get(&name).copied();
        self.used.insert(name.clone());
        match shard {
            Some(shard) => Ok(self.shards[shard].take(&name, shape)?),
            None => Err(self.missing(name, shape)),
        }
    }

    /// The tensor `name`, which stands outside the prefix, if it is there.
    pub(crate) fn take_outside(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        let Some(shard) = self.places.get(name).copied() else { return Ok(None) };
        self.used.insert(name.to_owned());
        Ok(Some(self.shards[shard].take(name, shape)?))
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
        tokens: &Tensor,
    ) -> Result<Tensor> {
        if tied == Some(true) {
            // A copy of the embedding, if it is there.
            self.used.insert(name.to_owned());
            return Ok(tokens.clone());
        }
        match self.take_outside(name, tokens.dims())? {
            Some(table) => Ok(table),
            None if tied == Some(false) => Err(self.missing(name.to_owned(), tokens.dims())),
            None => Ok(tokens.clone()),
        }
    }

    /// Every tensor was used, or is known to be of no use.
    pub(crate) fn check_all_used(&self) -> Result<()> {
        let mut odd = self.places.keys().filter(|n| !self.used.contains(*n) && !(self.ignored)(n));
        match odd.next() {
            None => Ok(()),
            Some(name) => Err(Error::BadFile {
                path: self.shards[self.places[name]].path().to_owned(),
                problem: format!(
                    "tensor `{name}` belongs to no part of the model ({} more like it)",
                    odd.count()
                ),
            }
            .into()),
        }
    }

    fn missing(&self, name: String, shape: &[usize]) -> crate::Error {
        let path = self.shards.first().map(|s| s.path().to_owned()).unwrap_or_default();
        Error::MissingTensor { path, name, want: shape.to_vec() }.into()
    }
}

/// The files that the index lists; names that lead out of the folder are refused.
fn shards(folder: &Folder) -> Result<Vec<String>> {
    let fields = Fields::parse(&folder.path(INDEX), &folder.read(INDEX)?)?;
    let wrong = || fields.wrong("weight_map", "an object of tensor names and file names");
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
    Ok(files.into_iter().collect())
}
