//! The MLP of a block: plain, gated, or with SoLU and a norm.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{Cursor, Site};
use sae_core::ops::{Activation, activate, multiply, softmax};

use crate::block::Context;
use crate::config::MlpActivation;
use crate::norm::norm;
use crate::weights::Mlp;

impl Context<'_> {
    /// `[batch, pos, d_model]` after the norm -> what the MLP makes of it, before a post-norm.
    pub(crate) fn mlp(&self, mlp: &Mlp, x: &Tensor, hooks: &mut Cursor<'_, '_>) -> Result<Tensor> {
        let post = match self.config.activation {
            MlpActivation::Pointwise(activation) => self.pointwise(mlp, x, activation, hooks)?,
            MlpActivation::Solu { .. } => self.solu(mlp, x, hooks)?,
        };
        let post = hooks.at(self.at(Site::MlpPost), post)?;
        mlp.output.forward(&post)
    }

    fn pointwise(
        &self,
        mlp: &Mlp,
        x: &Tensor,
        activation: Activation,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<Tensor> {
        // What the activation function reads: the gate where there is one.
        let map = mlp.gate.as_ref().unwrap_or(&mlp.input);
        let post = if hooks.wants(self.at(Site::MlpPre)) {
            let pre = hooks.at(self.at(Site::MlpPre), map.forward(x)?)?;
            activate(&pre, activation)?
        } else {
            map.forward_activated(x, activation)?
        };
        match &mlp.gate {
            Some(_) => {
                let linear = hooks.at(self.at(Site::MlpPreLinear), mlp.input.forward(x)?)?;
                multiply(&post, &linear)
            }
            None => Ok(post),
        }
    }

    fn solu(&self, mlp: &Mlp, x: &Tensor, hooks: &mut Cursor<'_, '_>) -> Result<Tensor> {
        let pre = hooks.at(self.at(Site::MlpPre), mlp.input.forward(x)?)?;
        let mid = (&pre * softmax(&pre)?)?;
        let Some(weights) = &mlp.norm else { return Ok(mid) };
        let mid = hooks.at(self.at(Site::MlpMid), mid)?;
        let at = (self.at(Site::MlpLnScale), self.at(Site::MlpLnNormalized));
        norm(&mid, self.norm(), weights, at, hooks)
    }
}
