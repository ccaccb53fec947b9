//! What single heads and neurons add to the residual stream.

use candle_core::{D, DType, Device, Tensor};
use sae_core::hook::{HookName, Site};
use sae_core::{Error, Result};

use super::{CachedRun, Stack, StackOptions, Sublayers};

impl CachedRun<'_> {
    /// What each head of each layer before that of `options` adds, `W_O` times its z, without `b_O`:
    /// labels `L0H0`, `L0H1`, ...; with `incl_remainder` also the rest of the stream, `remainder`.
    /// `mlp_input` plays no part.
    ///
    /// With norms after attention (Gemma 2 and 3) this is what heads add before that norm.
    ///
    /// # Errors
    /// `attn.hook_z`, the residual stream (for the rest) or the scale was not cached; no such layer,
    /// or none before it.
    pub fn stack_head_results(
        &self,
        options: &StackOptions,
        incl_remainder: bool,
    ) -> Result<Stack> {
        let layer = self.layer(&StackOptions { mlp_input: false, ..options.clone() })?;
        let mut parts = Vec::new();
        for l in 0..layer {
            parts.extend(self.head_results(l, options)?);
        }
        self.with_remainder(parts, layer, options, incl_remainder)
    }

    /// What each neuron of each layer before that of `options` adds, its activation times its row of
    /// `W_out`, without `b_out`: labels `L0N0`, ... Of the size of all MLP activations times `d_model`:
    /// slice the positions.
    ///
    /// # Errors
    /// As [`CachedRun::stack_head_results`], for `mlp.hook_post`.
    pub fn stack_neuron_results(
        &self,
        options: &StackOptions,
        incl_remainder: bool,
    ) -> Result<Stack> {
        let layer = self.layer(&StackOptions { mlp_input: false, ..options.clone() })?;
        let mut parts = Vec::new();
        for l in 0..layer {
            parts.extend(self.neuron_results(l, options)?);
        }
        self.with_remainder(parts, layer, options, incl_remainder)
    }

    /// Everything that the stream of `options` is the sum of: heads, neurons (or MLPs, without
    /// `expand_neurons`), embeddings and, as one part, biases.
    ///
    /// # Errors
    /// As for its parts. Norms after attention or MLP (Gemma 2 and 3) make the sum another.
    pub fn full_resid_decomposition(
        &self,
        options: &StackOptions,
        expand_neurons: bool,
    ) -> Result<Stack> {
        let layer = self.layer(options)?;
        let mut parts = Vec::new();
        for l in 0..layer + u16::from(options.mlp_input) {
            parts.extend(self.head_results(l, options)?);
        }
        if !self.model.config.attn_only && layer > 0 {
            if expand_neurons {
                for l in 0..layer {
                    parts.extend(self.neuron_results(l, options)?);
                }
            } else {
                let plain = StackOptions { apply_ln: false, mlp_input: false, ..options.clone() };
                let mlps = self.decompose_resid(&plain, Sublayers::Mlp, false)?;
                let tensors = mlps.components.chunk(mlps.labels.len(), 0)?;
                for (label, tensor) in mlps.labels.into_iter().zip(tensors) {
                    parts.push((label, tensor.squeeze(0)?));
                }
            }
        }
        parts.extend(self.embeddings(options)?);
        let shape = parts[0].1.shape().clone();
        let bias = self.model.accumulated_bias(layer, options.mlp_input, expand_neurons)?;
        parts.push(("bias".to_owned(), bias.broadcast_as(shape)?.contiguous()?));
        self.finished(Stack::new(parts)?, options)
    }

    fn head_results(&self, layer: u16, options: &StackOptions) -> Result<Vec<(String, Tensor)>> {
        let z = self.sliced(HookName::block(layer, Site::Z), &options.pos_slice)?;
        let (batch, pos, heads, d_head) = z.dims4()?;
        let w_o = self.model.weights.blocks[usize::from(layer)].attn_out.weight()?;
        let d_model = w_o.dim(1)?;
        let w_o = w_o.contiguous()?.reshape((heads, d_head, d_model))?;
        let rows = z.contiguous()?.reshape((batch * pos, heads, d_head))?.transpose(0, 1)?;
        let results = rows.contiguous()?.matmul(&w_o)?.reshape((heads, batch, pos, d_model))?;
        (0..heads).map(|head| Ok((format!("L{layer}H{head}"), results.get(head)?))).collect()
    }

    fn neuron_results(&self, layer: u16, options: &StackOptions) -> Result<Vec<(String, Tensor)>> {
        let at = HookName::block(layer, Site::MlpPost);
        let Some(mlp) = &self.model.weights.blocks[usize::from(layer)].mlp else {
            return Err(Error::NotCaptured { at });
        };
        let post = self.sliced(at, &options.pos_slice)?;
        let w_out = mlp.output.weight()?;
        let result = |n: usize| -> Result<(String, Tensor)> {
            let act = post.narrow(D::Minus1, n, 1)?;
            Ok((format!("L{layer}N{n}"), act.broadcast_mul(&w_out.get(n)?)?))
        };
        (0..w_out.dim(0)?).map(result).collect()
    }

    fn with_remainder(
        &self,
        parts: Vec<(String, Tensor)>,
        layer: u16,
        options: &StackOptions,
        incl_remainder: bool,
    ) -> Result<Stack> {
        if layer == 0 {
            return Err(Error::LayerOutOfRange { layer: 0, n_layers: self.n_layers() });
        }
        let mut stack = Stack::new(parts)?;
        if incl_remainder {
            let whole = self.sliced(HookName::resid_post(layer - 1), &options.pos_slice)?;
            let rest = (whole - stack.components.sum(0)?)?.unsqueeze(0)?;
            stack.components = Tensor::cat(&[&stack.components, &rest], 0)?;
            stack.labels.push("remainder".to_owned());
        }
        self.finished(stack, &StackOptions { mlp_input: false, ..options.clone() })
    }
}

impl crate::Decoder {
    /// The sum of the biases that write to the residual stream before `layer` (before its MLP with
    /// `mlp_input`), `[d_model]`: `b_O`, and `b_out` if asked for.
    ///
    /// # Errors
    /// No such layer.
    pub fn accumulated_bias(
        &self,
        layer: u16,
        mlp_input: bool,
        include_mlp_biases: bool,
    ) -> Result<Tensor> {
        let n_layers = self.config.spec.n_layers;
        if layer > n_layers || (layer == n_layers && mlp_input) {
            return Err(Error::LayerOutOfRange { layer: i32::from(layer), n_layers });
        }
        let mut sum = Tensor::zeros(self.config.spec.d_model, DType::F32, &Device::Cpu)?;
        for (l, block) in (0..n_layers).zip(&self.weights.blocks) {
            let before = l < layer;
            let attention = before || (mlp_input && l == layer);
            let attention = block.attn_out.bias().filter(|_| attention);
            let mlp = block.mlp.as_ref().and_then(|mlp| mlp.output.bias());
            let mlp = mlp.filter(|_| before && include_mlp_biases);
            for bias in attention.into_iter().chain(mlp) {
                sum = (sum + bias)?;
            }
        }
        Ok(sum)
    }
}
