//! The weights under TransformerLens' names and shapes.

use candle_core::{DType, Tensor};
use sae_core::ops::Centre;
use sae_core::{Error, Result};

use crate::decoder::Decoder;
use crate::weights::NormWeights;

impl Decoder {
    /// Every parameter under its TransformerLens name, in its shape there: `W_Q`, `W_K`, `W_V`
    /// `[heads, d_model, d_head]` (`_W_K`, `_W_V` under grouped-query attention), `W_O` `[head, d_head, d_model]`, `W_U` `[d_model, d_vocab]`;
    /// biases that the model does not have are zero. Builds what processing keeps implicit, so it
    /// costs memory; meant for analysis, not for running.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = vec![("embed.W_E".to_owned(), self.weights.embed.w_e()?)];
        if let Some(positions) = &self.weights.embed.positions {
            all.push(("pos_embed.W_pos".to_owned(), positions.to_dtype(DType::F32)?));
        }
        for layer in 0..self.weights.blocks.len() {
            self.block_parameters(layer, &mut all)?;
        }
        let unembed = &self.weights.unembed;
        if !unembed.folded {
            all.push(("ln_final.w".to_owned(), unembed.gain.clone()));
            all.extend(unembed.bias.iter().map(|bias| ("ln_final.b".to_owned(), bias.clone())));
        }
        all.push(("unembed.W_U".to_owned(), unembed.w_u()?));
        all.push(("unembed.b_U".to_owned(), unembed.b_u()?));
        Ok(all)
    }

    fn block_parameters(&self, layer: usize, all: &mut Vec<(String, Tensor)>) -> Result<()> {
        let block = &self.weights.blocks[layer];
        let spec = &self.config.spec;
        let mut put =
            |name: &str, tensor: Tensor| all.push((format!("blocks.{layer}.{name}"), tensor));
        let qk_norms = block.qk_norms.as_ref();
        let norms = [
            ("ln1", Some(&block.ln1)),
            ("attn.q_norm", qk_norms.map(|norms| &norms.q)),
            ("attn.k_norm", qk_norms.map(|norms| &norms.k)),
            ("ln1_post", block.ln1_post.as_ref()),
            ("ln2", Some(&block.ln2)),
            ("ln2_post", block.ln2_post.as_ref()),
        ];
        for (name, norm) in norms {
            if let Some(NormWeights::Affine { gain, bias }) = norm {
                put(&format!("{name}.w"), gain.clone());
                bias.iter().for_each(|bias| put(&format!("{name}.b"), bias.clone()));
            }
        }
        let (h, kv, e) = (spec.n_heads, spec.n_key_value_heads, spec.d_head);
        let qkv_bias = block.qkv.bias_or_zero()?;
        // Where keys and values are held by key/value head, their names begin with an underscore.
        let grouped = if self.config.grouped_query { "_" } else { "" };
        let parts = [("", "Q", 0, h), (grouped, "K", h, kv), (grouped, "V", h + kv, kv)];
        for (mark, name, from, heads) in parts {
            let w = block.qkv.weight()?.narrow(1, from * e, heads * e)?;
            let w = w.reshape((spec.d_model, heads, e))?.transpose(0, 1)?.contiguous()?;
            put(&format!("attn.{mark}W_{name}"), w);
            put(
                &format!("attn.{mark}b_{name}"),
                qkv_bias.narrow(0, from * e, heads * e)?.reshape((heads, e))?,
            );
        }
        put("attn.W_O", block.attn_out.weight()?.reshape((h, e, spec.d_model))?);
        put("attn.b_O", block.attn_out.bias_or_zero()?);
        let Some(mlp) = &block.mlp else { return Ok(()) };
        if let Some(gate) = &mlp.gate {
            put("mlp.W_gate", gate.weight()?);
        }
        put("mlp.W_in", mlp.input.weight()?);
        put("mlp.b_in", mlp.input.bias_or_zero()?);
        if let Some(NormWeights::Affine { gain, bias }) = &mlp.norm {
            put("mlp.ln.w", gain.clone());
            bias.iter().for_each(|bias| put("mlp.ln.b", bias.clone()));
        }
        put("mlp.W_out", mlp.output.weight()?);
        put("mlp.b_out", mlp.output.bias_or_zero()?);
        Ok(())
    }

    /// What TransformerLens calls the kind of norm: `LN`, or `LNPre` once it is folded.
    pub fn normalization_type(&self) -> &'static str {
        match (self.config.norm, self.weights.unembed.folded) {
            (Centre::Mean, false) => "LN",
            (Centre::Mean, true) => "LNPre",
            (Centre::Zero, false) => "RMS",
            (Centre::Zero, true) => "RMSPre",
        }
    }

    /// What directions in the residual stream do to the logits, `x W_U` as processed and without
    /// biases: `[.., d_model] -> [.., d_vocab]`.
    ///
    /// # Errors
    /// Another width than `d_model`.
    pub fn project_to_logits(&self, directions: &Tensor) -> Result<Tensor> {
        self.weights.unembed.project(directions)
    }

    /// The directions of tokens' logits in the residual stream, columns of `W_U` as processed:
    /// `tokens` of any shape -> `[.., d_model]`.
    ///
    /// # Errors
    /// A token that the vocabulary does not have.
    pub fn tokens_to_residual_directions(&self, tokens: &Tensor) -> Result<Tensor> {
        let flat = tokens.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
        let d_vocab = self.config.spec.d_vocab;
        if let Some(token) = flat.iter().copied().find(|id| *id as usize >= d_vocab) {
            return Err(Error::TokenOutOfRange { token, d_vocab });
        }
        let mut shape = tokens.dims().to_vec();
        shape.push(self.config.spec.d_model);
        Ok(self.weights.unembed.columns(&flat)?.reshape(shape)?)
    }

    /// `W_U` as processed, `[d_model, d_vocab]`: the directions of logits in the residual stream.
    ///
    /// # Errors
    /// The tensor operation failed.
    #[allow(non_snake_case)] // the field's name
    pub fn W_U(&self) -> Result<Tensor> {
        self.weights.unembed.w_u()
    }
}
