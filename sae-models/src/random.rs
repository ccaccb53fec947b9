//! Models of a given shape with random weights: for tests of structure and for benches.

use std::path::Path;

use sae_core::io::Fields;
use sae_core::model::ModelSpec;
use serde_json::{Map, Value, json};

use crate::decoder::Decoder;
use crate::processing::{Processing, process};
use crate::{Result, family};

impl Decoder {
    /// A model of the shape that a configuration (the fields of a `config.json`) describes, of any
    /// family, with random weights: gains near one, small biases, matrices that keep the size of what
    /// they multiply. The same seed gives the same weights.
    ///
    /// # Errors
    /// A field is not what it should be, or the family is not built.
    pub fn random(config: &Map<String, Value>, processing: Processing, seed: u64) -> Result<Self> {
        let fields = Fields::new(Path::new("config.json"), config.clone());
        let (config, mut weights) = family::random(&fields, seed)?;
        process(&mut weights, &config, processing)?;
        Ok(Self::new(config, weights, processing))
    }

    /// A GPT-2-family model of this shape with random weights and tied embeddings.
    ///
    /// # Errors
    /// As [`Decoder::random`].
    pub fn random_gpt2(spec: &ModelSpec, processing: Processing) -> Result<Self> {
        let config = json!({
            "model_type": "gpt2", "_name_or_path": spec.name, "n_layer": spec.n_layers,
            "n_embd": spec.d_model, "n_head": spec.n_heads, "n_inner": spec.d_mlp,
            "vocab_size": spec.d_vocab, "n_positions": spec.n_ctx, "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": true,
        });
        let Value::Object(config) = config else { unreachable!("an object, as written") };
        Self::random(&config, processing, 0)
    }
}
