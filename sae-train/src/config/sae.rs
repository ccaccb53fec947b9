//! The part of a configuration that describes the SAE itself.

use sae_core::sae::{Normalize, Reshape};
use serde_json::{Map, Value};

use super::read_recipe;
use super::reader::Reader;
use super::recipes::{Era, RecipeConfig};
use super::{BiasInit, DictionarySize, Init, size};
use crate::schedule::Coefficient;

/// The SAE that the fields of one object describe.
pub struct SaeConfig {
    /// Losses.
    pub recipe: RecipeConfig,
    /// Whether the encoder sees `x - b_dec`.
    pub apply_b_dec_to_input: bool,
    /// What is done to activations first.
    pub normalize: Normalize,
}

/// The SAE alone, from an object that may hold anything else besides.
///
/// # Errors
/// All that is wrong with it.
pub fn read_sae(map: &Map<String, Value>, era: Era) -> Result<SaeConfig, Vec<String>> {
    let mut fields = Reader::new(map, "");
    let sae = sae_fields(&mut fields, era);
    match sae.recipe {
        Some(recipe) if fields.problems.is_empty() => Ok(SaeConfig {
            recipe,
            apply_b_dec_to_input: sae.apply_b_dec_to_input,
            normalize: sae.normalize,
        }),
        _ => Err(fields.problems),
    }
}

/// What a configuration says of the SAE itself.
pub(super) struct SaeFields {
    pub(super) recipe: Option<RecipeConfig>,
    pub(super) d_in: Option<usize>,
    pub(super) size: Option<DictionarySize>,
    pub(super) apply_b_dec_to_input: bool,
    pub(super) normalize: Normalize,
    pub(super) reshape: Reshape,
    pub(super) init: Init,
    pub(super) normalize_sae_decoder: bool,
    pub(super) dense_batch_mse: bool,
    pub(super) coefficient: Coefficient,
}

pub(super) fn sae_fields(fields: &mut Reader<'_>, era: Era) -> SaeFields {
    let architecture = fields.text("architecture").unwrap_or("standard");
    let size = match (fields.count("d_sae"), fields.count("expansion_factor")) {
        (Some(_), Some(_)) => {
            fields.problem("d_sae", "and `expansion_factor` are both given, expected one");
            None
        }
        (Some(0), _) | (_, Some(0)) => {
            fields.problem("d_sae", "must be above 0");
            None
        }
        (Some(d_sae), None) => Some(DictionarySize::Latents(size(d_sae))),
        (None, Some(factor)) => Some(DictionarySize::Expansion(size(factor))),
        (None, None) if era == Era::V6 => {
            fields.problem("d_sae", "is missing");
            None
        }
        (None, None) => Some(DictionarySize::Expansion(4)),
    };
    let d_in = fields.count("d_in").map(self::size);
    let d_sae = match (size, d_in) {
        (Some(DictionarySize::Latents(d_sae)), _) => Some(d_sae),
        (Some(DictionarySize::Expansion(factor)), Some(d_in)) => Some(factor * d_in),
        _ => None,
    };
    let recipe = read_recipe::recipe(fields, architecture, d_sae, era);
    let default = if era == Era::V6 { 1.0 } else { 1e-3 };
    // Version 5 calls the coefficient of every architecture l1.
    let counts = matches!(recipe, Some(RecipeConfig::JumpRelu { .. })) && era == Era::V6;
    let (value, steps) = match counts {
        true => ("l0_coefficient", "l0_warm_up_steps"),
        false => ("l1_coefficient", "l1_warm_up_steps"),
    };
    let coefficient = Coefficient {
        final_value: fields.amount(value, default),
        warm_up_steps: fields.count(steps).unwrap_or(0),
    };
    let normalize = read_recipe::normalize(fields, era);
    let tied = matches!(recipe, Some(RecipeConfig::MatchingPursuit(_)));
    if tied && normalize == Normalize::CovarianceWhitening {
        let what =
            "`covariance_whitening` cannot be folded into the tied weights of matching pursuit";
        fields.problem("normalize_activations", what);
    }
    let mut init = init(fields, era);
    if tied {
        // As SAELens has it, whatever the configuration says: directions have norm 1.
        init.decoder_norm = Some(1.0);
    }
    SaeFields {
        recipe,
        d_in,
        size,
        apply_b_dec_to_input: fields.flag("apply_b_dec_to_input", true),
        normalize,
        reshape: reshape(fields, era),
        init,
        normalize_sae_decoder: era != Era::V6 && fields.flag("normalize_sae_decoder", true),
        dense_batch_mse: era != Era::V6
            && fields.choice("mse_loss_normalization", &[("dense_batch", true)], false),
        coefficient,
    }
}

/// `reshape_activations`; before version 6 it followed from the hook.
fn reshape(fields: &mut Reader<'_>, era: Era) -> Reshape {
    if era == Era::V6 {
        let choices = [Reshape::None, Reshape::HookZ].map(|reshape| (reshape.as_str(), reshape));
        if let Some(dtype) = fields.get("dtype").filter(|dtype| !is_f32(dtype)) {
            fields.problem("dtype", format_args!("is {dtype}, expected float32"));
        }
        return fields.choice("reshape_activations", &choices, Reshape::None);
    }
    let heads = fields.count("hook_head_index").is_none();
    match fields.text("hook_name") {
        Some(hook) if heads && hook.ends_with("_z") => Reshape::HookZ,
        _ => Reshape::None,
    }
}

fn is_f32(dtype: &Value) -> bool {
    matches!(dtype.as_str(), Some("float32" | "torch.float32"))
}

fn init(fields: &mut Reader<'_>, era: Era) -> Init {
    if era == Era::V6 {
        let decoder_norm = match fields.get("decoder_init_norm") {
            None => Some(0.1),
            Some(_) => fields.number("decoder_init_norm"),
        };
        return Init {
            decoder_orthogonal: false,
            decoder_norm,
            encoder_as_decoder_transpose: true,
            b_dec: BiasInit::Zeros,
        };
    }
    let choices = [
        ("zeros", BiasInit::Zeros),
        ("mean", BiasInit::Mean),
        ("geometric_median", BiasInit::GeometricMedian),
    ];
    let orthogonal = fields.flag("decoder_orthogonal_init", false);
    // In SAELens, too, the former excludes the latter.
    let heuristic = fields.flag("decoder_heuristic_init", false) && !orthogonal;
    let norm = fields.number("decoder_heuristic_init_norm").unwrap_or(0.1);
    Init {
        decoder_orthogonal: orthogonal,
        decoder_norm: heuristic.then_some(norm),
        encoder_as_decoder_transpose: fields.flag("init_encoder_as_decoder_transpose", false),
        b_dec: fields.choice("b_dec_init_method", &choices, BiasInit::GeometricMedian),
    }
}
