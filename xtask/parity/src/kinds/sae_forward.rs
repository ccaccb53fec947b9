//! `sae-forward` and `sae-legacy`: one SAE on given activations, with edits and gradients.

use anyhow::{Context, Result};
use candle_core::{DType, Tensor, Var};
use sae_core::hook::SaeSite;
use sae_core::sae::{Architecture, Probe, Sae};
use sae_core::sae_lens::{LoadOptions, load};
use serde_json::{Value, json};

use super::{edits, sae_cfg};
use crate::case::{Case, Outputs};

/// A folder as SAELens 6 writes it.
pub(crate) fn current(case: &Case) -> Result<Outputs> {
    run(case, false)
}

/// A folder as SAELens 3 to 5 wrote it.
pub(crate) fn legacy(case: &Case) -> Result<Outputs> {
    run(case, true)
}

fn run(case: &Case, legacy: bool) -> Result<Outputs> {
    let (_, folder) = case.saes()?.into_iter().next().context("the case names no SAE")?;
    let options = LoadOptions {
        norm_scaling_factor: case.param("norm_scaling_factor").and_then(Value::as_f64),
        fold_w_dec_norm: case.flag("fold_W_dec_norm"),
    };
    let sae = load(&folder, options)?.sae;
    let x = case.input("x")?.to_dtype(DType::F32)?;
    let mut out = Outputs::default();
    plain(case, sae.as_ref(), &x, &mut out)?;
    edited(case, sae.as_ref(), &x, &mut out)?;
    gradients(case, sae.as_ref(), &x, &mut out)?;
    let raw: Value = serde_json::from_slice(&folder.read("cfg.json")?)?;
    out.put_json("cfg", sae_cfg::expected_keys(case, &cfg(case, sae.as_ref(), legacy, &raw)));
    Ok(out)
}

/// Keeps everything that passes, and edits latents.
#[derive(Default)]
struct Recorder<'e> {
    seen: Vec<(SaeSite, Tensor)>,
    edits: &'e [Value],
    /// Added to the latents: a leaf for their gradient.
    leaf: Option<Var>,
}

impl Probe for Recorder<'_> {
    fn at(&mut self, site: SaeSite, value: Tensor) -> sae_core::Result<Tensor> {
        let mut value = value;
        if site == SaeSite::ActsPost {
            for edit in self.edits {
                let edit = edits::feature_edit(edit)
                    .map_err(|e| candle_core::Error::Msg(format!("{e:#}")))?;
                value = edit.edit(&value)?;
            }
            if let Some(leaf) = &self.leaf {
                value = (value + leaf.as_tensor())?;
            }
        }
        self.seen.push((site, value.clone()));
        Ok(value)
    }
}

fn forward(sae: &dyn Sae, x: &Tensor, probe: &mut Recorder<'_>) -> Result<Tensor> {
    let (acts, frame) = sae.encode_with(x, probe)?;
    Ok(sae.decode_with(&acts, &frame, probe)?)
}

fn put_points(out: &mut Outputs, prefix: &str, seen: &[(SaeSite, Tensor)]) {
    for (site, value) in seen {
        let name = match site {
            SaeSite::Input => "sae_in",
            SaeSite::ActsPre => "acts_pre",
            SaeSite::ActsPost => "acts_post",
            SaeSite::Recons => "recons",
            _ => continue,
        };
        out.put(format!("{prefix}{name}"), value.clone());
    }
}

fn plain(case: &Case, sae: &dyn Sae, x: &Tensor, out: &mut Outputs) -> Result<()> {
    let mut probe = Recorder::default();
    let output = forward(sae, x, &mut probe)?;
    put_points(out, "", &probe.seen);
    if case.expects("error") {
        let error = (x - &output)?;
        out.put("output_with_error", (&output + &error)?);
        out.put("error", error);
    }
    out.put("output", output);
    Ok(())
}

fn edited(case: &Case, sae: &dyn Sae, x: &Tensor, out: &mut Outputs) -> Result<()> {
    let Some(edits) = case.param("edits").and_then(Value::as_array) else { return Ok(()) };
    let mut probe = Recorder { edits, ..Recorder::default() };
    let output = forward(sae, x, &mut probe)?;
    put_points(out, "edited.", &probe.seen);
    if case.expects("edited.error") {
        let error = (x - sae.reconstruct(x)?)?;
        out.put("edited.output_with_error", (&output + &error)?);
        out.put("edited.error", error);
    }
    out.put("edited.output", output);
    Ok(())
}

fn gradients(case: &Case, sae: &dyn Sae, x: &Tensor, out: &mut Outputs) -> Result<()> {
    let Some(grad_output) = case.maybe_input("grad_output")? else { return Ok(()) };
    let x = Var::from_tensor(x)?;
    let (acts, _) = sae.encode(&x.detach())?;
    let leaf = Var::from_tensor(&acts.zeros_like()?)?;
    let mut probe = Recorder { leaf: Some(leaf.clone()), ..Recorder::default() };
    let output = forward(sae, x.as_tensor(), &mut probe)?;
    let grads = (output * grad_output)?.sum_all()?.backward()?;
    let of = |var: &Var| grads.get(var.as_tensor()).cloned().context("no gradient arrived");
    out.put("grad_x", of(&x)?);
    out.put("grad_acts_post", of(&leaf)?);
    Ok(())
}

/// The configuration that the library ended up with, under the names of the case's era.
fn cfg(case: &Case, sae: &dyn Sae, legacy: bool, raw: &Value) -> Value {
    let spec = sae.spec();
    let meta = |key: &str| spec.metadata.get(key).cloned().unwrap_or(Value::Null);
    let mut cfg = sae_cfg::of(spec);
    if legacy {
        // Folding the trainer's scale did not change what version 5 said of normalisation; what the
        // library says is compared wherever nothing was folded.
        if case.param("norm_scaling_factor").is_some_and(Value::is_number) {
            let mode = raw.get("normalize_activations").cloned().unwrap_or(json!("none"));
            cfg["normalize_activations"] = match mode {
                Value::Bool(true) => json!("expected_average_only_in"),
                Value::String(mode) => json!(mode),
                _ => json!("none"),
            };
        }
        // A version-6 library stores some of this under other names.
        let topk_activation = raw["activation_fn"] == "topk" || raw["activation_fn_str"] == "topk";
        if topk_activation && raw["architecture"] != "topk" {
            cfg["architecture"] = json!("standard");
        }
        cfg["activation_fn"] = match spec.architecture {
            Architecture::TopK { .. } => json!("topk"),
            Architecture::Standard { tanh: true } => json!("tanh-relu"),
            _ => json!("relu"),
        };
        cfg["finetuning_scaling_factor"] = json!(meta("finetuning_scaling_factor") == json!(true));
        cfg["hook_layer"] = json!(spec.hook.and_then(|hook| hook.layer()));
        for key in [
            "model_name",
            "hook_name",
            "hook_head_index",
            "context_size",
            "prepend_bos",
            "dataset_path",
            "neuronpedia_id",
        ] {
            cfg[key] = meta(key);
        }
    }
    cfg
}
