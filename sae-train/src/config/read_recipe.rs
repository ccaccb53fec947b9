//! Reading which SAE is trained, and by which losses.

use sae_core::sae::{MatchingPursuit, Normalize};
use serde_json::Value;

use super::reader::Reader;
use super::recipes::{Era, Nested, RecipeConfig};
use super::size;
use crate::recipe::{Activation, By, Sparsity};

/// Fields of standard SAEs that configurations of the time have for every architecture.
const LEGACY: [&str; 3] = ["lp_norm", "scale_sparsity_penalty_by_decoder_norm", "use_ghost_grads"];

/// What is trained in SAELens 6, and in version 5 or before.
const CURRENT: [&str; 8] = [
    "standard",
    "gated",
    "topk",
    "abstopk",
    "jumprelu",
    "batchtopk",
    "matryoshka_batchtopk",
    "matching_pursuit",
];
const BEFORE: [&str; 4] = ["standard", "gated", "topk", "jumprelu"];

/// The recipe for `d_sae` latents, as far as that is known.
pub(super) fn recipe(
    fields: &mut Reader<'_>,
    architecture: &str,
    d_sae: Option<usize>,
    era: Era,
) -> Option<RecipeConfig> {
    let names: &[&str] = if era == Era::V6 { &CURRENT } else { &BEFORE };
    if !names.contains(&architecture) {
        let names = names.join(", ");
        fields.problem("architecture", format_args!("is `{architecture}`, expected {names}"));
        return None;
    }
    if era != Era::V6 && architecture != "standard" {
        for field in LEGACY {
            // Part of every configuration of the time; ghost gradients are for standard SAEs alone.
            if fields.get(field) == Some(&Value::Bool(true)) && field == "use_ghost_grads" {
                fields
                    .problem(field, format_args!("is true, which {architecture} SAEs do not have"));
            }
        }
    }
    if era != Era::V6 && matches!(architecture, "gated" | "jumprelu") {
        fields.get("activation_fn_kwargs");
        let activation = legacy_activation(fields);
        if let Some(other) = activation.filter(|a| *a != "relu" && architecture == "gated") {
            fields.problem(
                "activation_fn",
                format_args!("is `{other}`, expected relu in gated SAEs"),
            );
        }
    }
    match architecture {
        "standard" => Some(standard(fields, d_sae, era)),
        "gated" => Some(RecipeConfig::Gated),
        "jumprelu" => Some(jumprelu(fields, era)),
        "topk" | "abstopk" => topk(fields, architecture, d_sae, era),
        "matching_pursuit" => Some(pursuit(fields)),
        _ => batch_topk(fields, architecture == "matryoshka_batchtopk", d_sae),
    }
}

fn standard(fields: &mut Reader<'_>, d_sae: Option<usize>, era: Era) -> RecipeConfig {
    let lp_norm = fields.number("lp_norm").unwrap_or(1.0);
    if lp_norm <= 0.0 {
        fields.problem("lp_norm", format_args!("is {lp_norm}, expected more than 0"));
    }
    let scale_by_decoder_norm = match era {
        Era::V6 => true,
        Era::V5 => fields.flag("scale_sparsity_penalty_by_decoder_norm", false),
        Era::V4 => {
            fields.get("scale_sparsity_penalty_by_decoder_norm");
            true
        }
    };
    let ghost_grads = era != Era::V6 && fields.flag("use_ghost_grads", false);
    let activation = if era == Era::V6 {
        Activation::Relu
    } else {
        fields.get("activation_fn_kwargs");
        match legacy_activation(fields) {
            None | Some("relu") => Activation::Relu,
            Some("tanh-relu") => Activation::TanhRelu,
            Some("topk") => Activation::TopK { k: legacy_k(fields, d_sae).unwrap_or_default() },
            Some(other) => {
                let want = "expected relu, tanh-relu or topk";
                fields.problem("activation_fn", format_args!("is `{other}`, {want}"));
                Activation::Relu
            }
        }
    };
    RecipeConfig::Standard { activation, lp_norm, scale_by_decoder_norm, ghost_grads }
}

fn legacy_activation<'a>(fields: &mut Reader<'a>) -> Option<&'a str> {
    let first = fields.text("activation_fn");
    first.or(fields.text("activation_fn_str"))
}

/// The `k` of `activation_fn_kwargs`.
fn legacy_k(fields: &mut Reader<'_>, d_sae: Option<usize>) -> Option<usize> {
    let kwargs = fields.get("activation_fn_kwargs");
    let k = kwargs.and_then(|v| v.get("k")).and_then(Value::as_u64).filter(|k| *k > 0);
    if k.is_none() {
        fields.problem("activation_fn_kwargs", "needs `k`, a whole number above 0");
    }
    let k = size(k?);
    within(fields, "activation_fn_kwargs", k as f64, d_sae);
    Some(k)
}

/// There must be as many latents as are to be kept.
#[allow(clippy::cast_precision_loss)]
fn within(fields: &mut Reader<'_>, field: &str, k: f64, d_sae: Option<usize>) {
    if let Some(d_sae) = d_sae.filter(|d_sae| k > *d_sae as f64) {
        fields.problem(field, format_args!("keeps {k} latents of {d_sae}"));
    }
}

fn topk(
    fields: &mut Reader<'_>,
    architecture: &str,
    d_sae: Option<usize>,
    era: Era,
) -> Option<RecipeConfig> {
    let current = era == Era::V6;
    let k = if current {
        let k = size(fields.positive("k", 100));
        within(fields, "k", k as f64, d_sae);
        k
    } else {
        legacy_activation(fields); // `topk`, whatever it says
        legacy_k(fields, d_sae)?
    };
    let (rescale_acts_by_decoder_norm, aux_loss_coefficient) =
        if current { shared(fields) } else { (false, 1.0) };
    let by = if architecture == "abstopk" { By::Magnitude } else { By::Value };
    let aux_with_bias = !current;
    Some(RecipeConfig::TopK {
        k,
        by,
        rescale_acts_by_decoder_norm,
        aux_loss_coefficient,
        aux_with_bias,
    })
}

/// Whether latents are rescaled, and the weight of the auxiliary loss.
fn shared(fields: &mut Reader<'_>) -> (bool, f64) {
    fields.flag("use_sparse_activations", false); // they always are
    (fields.flag("rescale_acts_by_decoder_norm", true), fields.amount("aux_loss_coefficient", 1.0))
}

fn batch_topk(
    fields: &mut Reader<'_>,
    matryoshka: bool,
    d_sae: Option<usize>,
) -> Option<RecipeConfig> {
    let k = fields.amount("k", 100.0);
    if k == 0.0 {
        fields.problem("k", "is 0, expected more");
    }
    within(fields, "k", k, d_sae);
    let topk_threshold_lr = fields.amount("topk_threshold_lr", 0.01);
    if topk_threshold_lr > 1.0 {
        fields.problem("topk_threshold_lr", "must be at most 1");
    }
    let (rescale_acts_by_decoder_norm, aux_loss_coefficient) = shared(fields);
    let nested = matryoshka.then(|| nested(fields, d_sae));
    Some(RecipeConfig::BatchTopK {
        k,
        topk_threshold_lr,
        rescale_acts_by_decoder_norm,
        aux_loss_coefficient,
        nested: match nested {
            Some(nested) => Some(nested?),
            None => None,
        },
    })
}

/// `matryoshka_widths`, `d_sae` added where it is missing, as SAELens does.
fn nested(fields: &mut Reader<'_>, d_sae: Option<usize>) -> Option<Nested> {
    const FIELD: &str = "matryoshka_widths";
    let own_aux_loss = fields.flag("use_matryoshka_aux_loss", false);
    let list = fields.get(FIELD).and_then(Value::as_array).cloned().unwrap_or_default();
    let widths: Option<Vec<usize>> =
        list.iter().map(|w| w.as_u64().filter(|w| *w > 0).map(size)).collect();
    let Some(mut widths) = widths.filter(|widths| !widths.is_empty()) else {
        fields.problem(FIELD, "needs to be a list of whole numbers above 0");
        return None;
    };
    let d_sae = d_sae?;
    if widths.last() != Some(&d_sae) {
        widths.push(d_sae);
    }
    if widths.windows(2).any(|w| w[0] >= w[1]) {
        fields.problem(FIELD, format_args!("must rise, and end with {d_sae} latents at most"));
    }
    Some(Nested { widths, own_aux_loss })
}

fn pursuit(fields: &mut Reader<'_>) -> RecipeConfig {
    let limit = fields.get("max_iterations").is_some();
    let max_iterations = limit.then(|| size(fields.positive("max_iterations", 1)));
    RecipeConfig::MatchingPursuit(MatchingPursuit {
        residual_threshold: fields.amount("residual_threshold", 1e-2),
        max_iterations,
        stop_on_duplicate_support: fields.flag("stop_on_duplicate_support", true),
    })
}

fn jumprelu(fields: &mut Reader<'_>, era: Era) -> RecipeConfig {
    let current = era == Era::V6;
    let default = if current { (0.05, 0.01) } else { (0.001, 0.001) };
    let bandwidth = fields.amount("jumprelu_bandwidth", default.0);
    if bandwidth <= 0.0 {
        fields.problem("jumprelu_bandwidth", "must be above 0");
    }
    let mode = if current { fields.text("jumprelu_sparsity_loss_mode") } else { None };
    let target_l0 = if current { fields.number("target_l0") } else { None };
    let scale = if current { fields.amount("jumprelu_tanh_scale", 4.0) } else { 4.0 };
    let sparsity = match (mode.unwrap_or("step"), target_l0) {
        ("step", _) => Sparsity::Step,
        ("tanh", _) => Sparsity::Tanh { scale },
        ("quadratic", Some(target_l0)) if target_l0 > 0.0 => Sparsity::Quadratic { target_l0 },
        ("quadratic", _) => {
            fields.problem("target_l0", "must be above 0 in mode `quadratic`");
            Sparsity::Step
        }
        (other, _) => {
            let want = "expected step, tanh or quadratic";
            let field = "jumprelu_sparsity_loss_mode";
            fields.problem(field, format_args!("is `{other}`, {want}"));
            Sparsity::Step
        }
    };
    RecipeConfig::JumpRelu {
        sparsity,
        bandwidth,
        ste_to_input: current && fields.flag("jumprelu_ste_to_input", false),
        pre_act_loss_coefficient: fields.number("pre_act_loss_coefficient"),
        log_threshold: !current,
        init_threshold: fields.amount("jumprelu_init_threshold", default.1),
    }
}

/// `normalize_activations`.
pub(super) fn normalize(fields: &mut Reader<'_>, era: Era) -> Normalize {
    let mut modes = vec![
        Normalize::None,
        Normalize::ExpectedAverageOnlyIn,
        Normalize::ConstantNormRescale,
        Normalize::LayerNorm,
    ];
    if era == Era::V6 {
        modes.push(Normalize::CovarianceWhitening);
    }
    let choices: Vec<(&str, Normalize)> =
        modes.into_iter().map(|mode| (mode.as_str(), mode)).collect();
    // Configurations of early 2024 say true and false.
    match fields.get("normalize_activations") {
        Some(Value::Bool(true)) => Normalize::ExpectedAverageOnlyIn,
        Some(Value::Bool(false)) => Normalize::None,
        _ => fields.choice("normalize_activations", &choices, Normalize::None),
    }
}
