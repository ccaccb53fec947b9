//! `Case`: one case of a suite, and what a runner made of it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use candle_core::{DType, Tensor};
use sae_core::io::{Folder, TensorFile};
use sae_models::Processing;
use serde_json::{Map, Value};

/// One case: parameters, inputs and what is expected.
pub(crate) struct Case {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) params: Value,
    /// Output name to tolerance.
    pub(crate) expect: Vec<(String, f64)>,
    pub(crate) expect_json: Map<String, Value>,
    suite: PathBuf,
    model: Option<String>,
    saes: Map<String, Value>,
    tensors: Option<RefCell<TensorFile>>,
}

impl Case {
    /// Read `case.json`, and the header of `tensors.safetensors`.
    pub(crate) fn open(suite: &Path, dir: &Path) -> Result<Self> {
        let path = dir.join("case.json");
        let text = std::fs::read(&path).with_context(|| format!("{}", path.display()))?;
        let mut json: Value =
            serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
        let format = json["format"].as_u64();
        anyhow::ensure!(format == Some(1), "{}: format {format:?}, expected 1", path.display());
        let text = |field: &str| json[field].as_str().map(str::to_owned);
        let kind = text("kind").with_context(|| format!("{}: no kind", path.display()))?;
        let name = text("case").with_context(|| format!("{}: no case", path.display()))?;
        let model = text("model");
        let mut object = |field: &str| match json[field].take() {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        let expect = object("expect")
            .into_iter()
            .map(|(output, e)| Ok((output, e["tol"].as_f64().context("expect without tol")?)))
            .collect::<Result<_>>()?;
        let (expect_json, saes) = (object("expect_json"), object("saes"));
        let tensors = dir.join("tensors.safetensors");
        let tensors = match tensors.is_file() {
            true => Some(RefCell::new(TensorFile::open(&tensors)?)),
            false => None,
        };
        let params = json["params"].take();
        let suite = suite.to_owned();
        Ok(Self { kind, name, params, expect, expect_json, suite, model, saes, tensors })
    }

    /// The input `in.<name>`, integers as they are, floats as f32.
    pub(crate) fn input(&self, name: &str) -> Result<Tensor> {
        self.maybe_input(name)?.with_context(|| format!("no input `{name}`"))
    }

    /// As [`Case::input`]; `None` when the case has none.
    pub(crate) fn maybe_input(&self, name: &str) -> Result<Option<Tensor>> {
        self.tensor(&format!("in.{name}"))
    }

    /// Token ids, `[batch, pos]`, as u32.
    pub(crate) fn tokens(&self, name: &str) -> Result<Tensor> {
        Ok(self.input(name)?.to_dtype(DType::U32)?)
    }

    /// The expected output `out.<name>`.
    pub(crate) fn expected(&self, name: &str) -> Result<Tensor> {
        self.tensor(&format!("out.{name}"))?.with_context(|| format!("the case has no out.{name}"))
    }

    fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(file) = &self.tensors else { return Ok(None) };
        let mut file = file.borrow_mut();
        match file.shape(name) {
            Some(_) => Ok(Some(file.raw(name)?)),
            None => Ok(None),
        }
    }

    /// Whether the case expects this output.
    pub(crate) fn expects(&self, output: &str) -> bool {
        self.expect.iter().any(|(name, _)| name == output)
    }

    /// The folder of the model.
    pub(crate) fn model(&self) -> Result<Folder> {
        Ok(Folder::disk(self.suite.join(self.model.as_ref().context("the case names no model")?)))
    }

    /// Hook names and folders of the SAEs.
    pub(crate) fn saes(&self) -> Result<Vec<(String, Folder)>> {
        let one = |(hook, dir): (&String, &Value)| {
            let dir = dir.as_str().context("`saes` must map hooks to folders")?;
            Ok((hook.clone(), Folder::disk(self.suite.join(dir))))
        };
        self.saes.iter().map(one).collect()
    }

    /// A parameter; JSON null counts as absent.
    pub(crate) fn param(&self, name: &str) -> Option<&Value> {
        self.params.get(name).filter(|v| !v.is_null())
    }

    /// A parameter that is true or false, false when absent.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.param(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A whole number.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>> {
        self.param(name)
            .map(|v| {
                v.as_i64().ok_or_else(|| anyhow!("param `{name}` is {v}, expected an integer"))
            })
            .transpose()
    }

    /// The weight processing that `params.processing` describes.
    pub(crate) fn processing(&self) -> Processing {
        let flag = |name: &str| self.params["processing"][name].as_bool().unwrap_or(false);
        Processing {
            fold_ln: flag("fold_ln"),
            center_writing_weights: flag("center_writing_weights"),
            center_unembed: flag("center_unembed"),
            fold_value_biases: flag("fold_value_biases"),
        }
    }
}

/// What a runner computed.
#[derive(Default)]
pub(crate) struct Outputs {
    pub(crate) tensors: Vec<(String, Tensor)>,
    pub(crate) json: Map<String, Value>,
}

impl Outputs {
    /// Add a tensor.
    pub(crate) fn put(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.tensors.push((name.into(), tensor));
    }

    /// Add a JSON value.
    pub(crate) fn put_json(&mut self, name: &str, value: impl Into<Value>) {
        self.json.insert(name.to_owned(), value.into());
    }
}
