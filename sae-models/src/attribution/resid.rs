//! The residual stream as it grows, and as a sum of what the sublayers add.

use candle_core::Tensor;
use sae_core::hook::{HookName, Site};
use sae_core::{Error, Result};

use super::{CachedRun, Stack, StackOptions};

/// Which sublayers to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sublayers {
    /// Attention and MLPs.
    #[default]
    All,
    /// Attention.
    Attention,
    /// MLPs.
    Mlp,
}

impl CachedRun<'_> {
    /// The residual stream before each layer up to the one of `options`, and between attention and MLP
    /// (`incl_mid`): labels `0_pre`, `0_mid`, ..., `final_post`.
    ///
    /// # Errors
    /// A residual stream, or with `apply_ln` the scale, was not cached; no such layer.
    pub fn accumulated_resid(&self, options: &StackOptions, incl_mid: bool) -> Result<Stack> {
        let (layer, n_layers) = (self.layer(options)?, self.n_layers());
        let mut parts = Vec::new();
        let mut put = |label: String, at: HookName| -> Result<()> {
            parts.push((label, self.sliced(at, &options.pos_slice)?));
            Ok(())
        };
        for l in 0..=layer {
            if l == n_layers {
                put("final_post".to_owned(), HookName::resid_post(l - 1))?;
                continue;
            }
            put(format!("{l}_pre"), HookName::resid_pre(l))?;
            if (incl_mid && l < layer) || (options.mlp_input && l == layer) {
                put(format!("{l}_mid"), HookName::block(l, Site::ResidMid))?;
            }
        }
        self.finished(Stack::new(parts)?, options)
    }

    /// What was added to the stream of `options`: `embed` and `pos_embed` (unless left out), `0_attn_out`,
    /// `0_mlp_out`, ... With all sublayers and embeddings they sum to it.
    ///
    /// # Errors
    /// A part, or with `apply_ln` the scale, was not cached; no such layer; or nothing to list.
    pub fn decompose_resid(
        &self,
        options: &StackOptions,
        sublayers: Sublayers,
        incl_embeds: bool,
    ) -> Result<Stack> {
        let layer = self.layer(options)?;
        let mut parts = if incl_embeds { self.embeddings(options)? } else { Vec::new() };
        let mut put = |label: String, at: HookName| -> Result<()> {
            parts.push((label, self.sliced(at, &options.pos_slice)?));
            Ok(())
        };
        let attention = sublayers != Sublayers::Mlp;
        let mlp = sublayers != Sublayers::Attention && !self.model.config.attn_only;
        for l in 0..layer {
            if attention {
                put(format!("{l}_attn_out"), HookName::block(l, Site::AttnOut))?;
            }
            if mlp {
                put(format!("{l}_mlp_out"), HookName::block(l, Site::MlpOut))?;
            }
        }
        if options.mlp_input && attention {
            put(format!("{layer}_attn_out"), HookName::block(layer, Site::AttnOut))?;
        }
        if parts.is_empty() {
            return Err(Error::LayerOutOfRange {
                layer: i32::from(layer),
                n_layers: self.n_layers(),
            });
        }
        self.finished(Stack::new(parts)?, options)
    }

    /// `embed`, and `pos_embed` where it is added to the residual stream.
    pub(super) fn embeddings(&self, options: &StackOptions) -> Result<Vec<(String, Tensor)>> {
        let mut parts =
            vec![("embed".to_owned(), self.sliced(HookName::EMBED, &options.pos_slice)?)];
        let config = &self.model.config;
        if config.rotary.is_none() && !config.shortformer {
            let learned = self.sliced(HookName::POS_EMBED, &options.pos_slice)?;
            parts.push(("pos_embed".to_owned(), learned));
        }
        Ok(parts)
    }

    pub(super) fn finished(&self, stack: Stack, options: &StackOptions) -> Result<Stack> {
        if !options.apply_ln {
            return Ok(stack);
        }
        let components = self.apply_ln_to_stack(&stack.components, options)?;
        Ok(Stack { components, ..stack })
    }
}
