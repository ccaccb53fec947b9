//! `weight-processing`: every parameter under its TransformerLens name.

use anyhow::Result;
use sae_models::Decoder;

use crate::case::{Case, Outputs};

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?;
    let mut out = Outputs { tensors: model.parameters()?, ..Outputs::default() };
    let mut names: Vec<String> = out.tensors.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    out.put_json("parameters", names);
    out.put_json("normalization_type", model.normalization_type());
    Ok(out)
}
