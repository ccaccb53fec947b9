//! The MLP of a block, plain or gated.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{Cursor, Site};
use sae_core::ops::activate;

use crate::block::Context;

impl Context<'_> {
    /// `[batch, pos, d_model]` after the norm -> what the MLP makes of it, before a post-norm.
    pub(crate) fn mlp(&self, x: &Tensor, hooks: &mut Cursor<'_, '_>) -> Result<Tensor> {
        let mlp = &self.block.mlp;
        // What the activation function reads: the gate where there is one.
        let map = mlp.gate.as_ref().unwrap_or(&mlp.input);
        let activation = self.config.activation;
        let post = if hooks.wants(self.at(Site::MlpPre)) {
            let pre = hooks.at(self.at(Site::MlpPre), map.forward(x)?)?;
            activate(&pre, activation)?
        } else {
            map.forward_activated(x, activation)?
        };
        let post = match &mlp.gate {
            Some(_) => {
                let linear = hooks.at(self.at(Site::MlpPreLinear), mlp.input.forward(x)?)?;
                (post * linear)?
            }
            None => post,
        };
        let post = hooks.at(self.at(Site::MlpPost), post)?;
        mlp.output.forward(&post)
    }
}
