//! What is trained, in SAELens' own words: the fields of its training configurations.

use serde_json::{Map, Value, json};

use super::{Era, RecipeConfig, TrainConfig};

impl TrainConfig {
    /// SAELens' name of the architecture that is trained.
    pub fn architecture_name(&self) -> &'static str {
        self.recipe.build(self.apply_b_dec_to_input).name()
    }

    /// The fields that matter in training only, which inference configurations keep as
    /// `training_architecture_details`.
    pub(crate) fn details(&self) -> Map<String, Value> {
        let mut details = self.architecture_fields();
        // Fields that inference has, too.
        let known: &[&str] = match self.recipe {
            RecipeConfig::TopK { .. } => &["k", "rescale_acts_by_decoder_norm"],
            RecipeConfig::MatchingPursuit(_) => {
                &["residual_threshold", "max_iterations", "stop_on_duplicate_support"]
            }
            _ => &[],
        };
        details.retain(|field, _| !known.contains(&field.as_str()));
        details
    }

    fn architecture_fields(&self) -> Map<String, Value> {
        let mut fields = self.recipe.fields();
        fields.insert("decoder_init_norm".to_owned(), json!(self.init.decoder_norm));
        let legacy = self.era != Era::V6;
        let coefficient = match self.recipe {
            RecipeConfig::Standard { .. } | RecipeConfig::Gated => Some("l1"),
            RecipeConfig::JumpRelu { .. } if legacy => Some("l1"),
            RecipeConfig::JumpRelu { .. } => Some("l0"),
            _ => None,
        };
        if let Some(name) = coefficient {
            let Self { coefficient, .. } = self;
            fields.insert(format!("{name}_coefficient"), json!(coefficient.final_value));
            fields.insert(format!("{name}_warm_up_steps"), json!(coefficient.warm_up_steps));
        }
        fields
    }

    /// The `cfg.json` of an SAE in training, with `d_in` inputs, as SAELens 6 reads it.
    pub(crate) fn training_cfg(&self, d_in: usize) -> Map<String, Value> {
        let mut cfg = self.architecture_fields();
        let base = json!({
            "architecture": self.architecture_name(),
            "d_in": d_in,
            "d_sae": self.d_sae(d_in),
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": self.apply_b_dec_to_input,
            "normalize_activations": self.normalize.as_str(),
            "reshape_activations": self.reshape.as_str(),
        });
        cfg.extend(base.as_object().cloned().unwrap_or_default());
        let mut metadata = self.metadata();
        metadata.insert("sae_lens_version".to_owned(), json!(sae_core::sae_lens::WRITTEN_VERSION));
        cfg.insert("metadata".to_owned(), Value::Object(metadata));
        cfg
    }

    /// What is known of model, data and training.
    pub(crate) fn metadata(&self) -> Map<String, Value> {
        let metadata = json!({
            "model_name": self.model_name,
            "hook_name": self.hook.map(|hook| hook.to_string()),
            "hook_head_index": self.head,
            "dataset_path": self.dataset_path,
            "context_size": self.context_size,
            "prepend_bos": self.prepend_bos,
            "seqpos_slice": self.seqpos_slice.0,
            "exclude_special_tokens": self.exclude_special_tokens.to_json(),
            "disable_concat_sequences": self.disable_concat_sequences,
            "sequence_separator_token": self.separator.to_json(),
            "training_architecture": self.architecture_name(),
            "training_architecture_details": self.details(),
        });
        metadata.as_object().cloned().unwrap_or_default()
    }
}
