//! The weights under TransformerLens' names and shapes.

use candle_core::{DType, Device, Tensor};
use sae_core::Result;
use sae_core::ops::{Centre, Linear};

use crate::decoder::Decoder;
use crate::weights::NormWeights;

impl Decoder {
    /// Every parameter under its TransformerLens name, in its shape there: `W_Q`, `W_K`, `W_V`
    /// `[heads, d_model, d_head]`, `W_O` `[head, d_head, d_model]`, `W_U` `[d_model, d_vocab]`;
    /// biases that the model does not have are zero. Builds what processing keeps implicit, so it
    /// costs memory; meant for analysis, not for running.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn parameters(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = vec![
            ("embed.W_E".to_owned(), self.weights.embed.w_e()?),
            ("pos_embed.W_pos".to_owned(), self.weights.embed.positions.clone()),
        ];
        for layer in 0..self.weights.blocks.len() {
            self.block_parameters(layer, &mut all)?;
        }
        let unembed = &self.weights.unembed;
        if !unembed.folded {
            all.push(("ln_final.w".to_owned(), unembed.gain.clone()));
            all.push(("ln_final.b".to_owned(), unembed.bias.clone()));
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
        for (name, norm) in [("ln1", &block.ln1), ("ln2", &block.ln2)] {
            if let NormWeights::Affine { gain, bias } = norm {
                put(&format!("{name}.w"), gain.clone());
                put(&format!("{name}.b"), bias.clone());
            }
        }
        let (h, kv, e) = (spec.n_heads, spec.n_key_value_heads, spec.d_head);
        let qkv_bias = bias(&block.qkv)?;
        for (name, from, heads) in [("Q", 0, h), ("K", h, kv), ("V", h + kv, kv)] {
            let w = block.qkv.weight().narrow(1, from * e, heads * e)?;
            let w = w.reshape((spec.d_model, heads, e))?.transpose(0, 1)?.contiguous()?;
            put(&format!("attn.W_{name}"), w);
            put(
                &format!("attn.b_{name}"),
                qkv_bias.narrow(0, from * e, heads * e)?.reshape((heads, e))?,
            );
        }
        put("attn.W_O", block.attn_out.weight().reshape((h, e, spec.d_model))?);
        put("attn.b_O", bias(&block.attn_out)?);
        put("mlp.W_in", block.mlp_in.weight().clone());
        put("mlp.b_in", bias(&block.mlp_in)?);
        put("mlp.W_out", block.mlp_out.weight().clone());
        put("mlp.b_out", bias(&block.mlp_out)?);
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

    /// `W_U` as processed, `[d_model, d_vocab]`: the directions of logits in the residual stream.
    ///
    /// # Errors
    /// The tensor operation failed.
    #[allow(non_snake_case)] // the field's name
    pub fn W_U(&self) -> Result<Tensor> {
        self.weights.unembed.w_u()
    }
}

fn bias(map: &Linear) -> Result<Tensor> {
    match map.bias() {
        Some(bias) => Ok(bias.clone()),
        None => Ok(Tensor::zeros(map.weight().dim(1)?, DType::F32, &Device::Cpu)?),
    }
}
