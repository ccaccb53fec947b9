//! `hooked-forward`: logits, loss, every activation, and gradients at every hook.

use anyhow::Result;
use sae_core::hook::{HookName, Plan, Site};
use sae_core::model::{Batch, HookedModel};
use sae_models::{Decoder, Flags, loss, loss_per_token};
use serde_json::Value;

use crate::case::{Case, Outputs};

/// Points that TransformerLens does not have; they are not listed in its cases.
pub(crate) fn is_extra(name: &str) -> bool {
    const EXTRA: [&str; 6] = [
        "attn.hook_in",
        "attn.hook_out",
        "mlp.hook_in",
        "mlp.hook_out",
        "unembed.hook_in",
        "unembed.hook_out",
    ];
    EXTRA.iter().any(|extra| name.ends_with(extra))
}

pub(crate) fn run(case: &Case) -> Result<Outputs> {
    let model = Decoder::load(&case.model()?, case.processing())?.with_flags(flags(case))?;
    let mut batch = Batch::new(case.tokens("tokens")?)?;
    if let Some(mask) = case.maybe_input("attention_mask")? {
        batch = batch.with_mask(&mask)?;
    }
    let places: Vec<HookName> =
        model.places().into_iter().filter(|at| !is_extra(&at.to_string())).collect();
    let mut plan = Plan::new().capture_all(places.iter().copied());
    let tapped: Vec<HookName> = grad_hooks(case)?;
    for at in &tapped {
        plan = plan.tap(*at);
    }
    let run = model.run(&batch, &plan)?;
    let mut out = Outputs::default();
    let logits = run.require_logits()?;
    out.put("logits", logits.clone());
    let total = loss(logits, &batch)?;
    out.put("loss", total.clone());
    out.put("loss_per_token", loss_per_token(logits, &batch)?);
    let after_gain = case.params["ln_hook_normalized"] == "after gain and bias";
    let mut hooks = Vec::new();
    for (at, act) in run.captured() {
        let act = if after_gain { apply_gain(&model, *at, act)? } else { act.clone() };
        out.put(format!("cache.{at}"), act);
        hooks.push(Value::from(at.to_string()));
    }
    out.put_json("hooks", hooks);
    if !tapped.is_empty() {
        let grads = run.gradients(&total)?;
        for at in &tapped {
            out.put(format!("grad.{at}"), grads.require(*at)?.clone());
        }
        out.put_json("grad_hooks", case.expect_json["grad_hooks"].clone());
    }
    Ok(out)
}

fn flags(case: &Case) -> Flags {
    let flag = |name: &str| case.params["flags"][name].as_bool().unwrap_or(false);
    Flags {
        use_attn_result: flag("use_attn_result"),
        use_split_qkv_input: flag("use_split_qkv_input"),
        use_attn_in: flag("use_attn_in"),
        use_hook_mlp_in: flag("use_hook_mlp_in"),
        ungroup_grouped_query_attention: flag("ungroup_grouped_query_attention"),
    }
}

fn grad_hooks(case: &Case) -> Result<Vec<HookName>> {
    if !case.flag("backward") {
        return Ok(Vec::new());
    }
    let names = case.expect_json.get("grad_hooks").and_then(Value::as_array);
    names.into_iter().flatten().map(|n| Ok(n.as_str().unwrap_or_default().parse()?)).collect()
}

/// TransformerLens 2.17 puts `hook_normalized` of an unprocessed LayerNorm after gain and bias.
pub(crate) fn apply_gain(
    model: &Decoder,
    at: HookName,
    act: &candle_core::Tensor,
) -> Result<candle_core::Tensor> {
    let norm = match (at, at.layer()) {
        (HookName::FINAL_NORMALIZED, _) => "ln_final".to_owned(),
        (_, Some(l)) if at == HookName::block(l, Site::Ln1Normalized) => format!("blocks.{l}.ln1"),
        (_, Some(l)) if at == HookName::block(l, Site::Ln2Normalized) => format!("blocks.{l}.ln2"),
        _ => return Ok(act.clone()),
    };
    let parameters = model.parameters()?;
    let find = |name: String| parameters.iter().find(|(n, _)| *n == name).map(|(_, t)| t);
    match (find(format!("{norm}.w")), find(format!("{norm}.b"))) {
        (Some(w), Some(b)) => Ok(act.broadcast_mul(w)?.broadcast_add(b)?),
        _ => Ok(act.clone()),
    }
}
