//! Recipes: how each architecture is trained, one file each.
//!
//! A recipe runs one batch forward and adds the closed-form gradients of its losses. Latents stay
//! sparse throughout: one encoder product is the only dense one of a step.

mod aux_k;
mod backward;
mod batch_topk;
mod gated;
mod ghost;
mod jumprelu;
mod matryoshka;
mod pre_act;
mod pursuit;
mod sparsity;
mod standard;
mod topk;

use std::borrow::Cow;

use sae_core::sae::Codes;

pub use batch_topk::BatchTopK;
pub use gated::Gated;
pub use jumprelu::{JumpRelu, Sparsity};
pub use matryoshka::Matryoshka;
pub use pursuit::Pursuit;
pub use standard::{Activation, Standard};
pub use topk::{By, TopK};

use crate::params::Params;
use crate::rows::Rows;

/// What changes from step to step besides batch and weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepContext<'a> {
    /// The sparsity coefficient, as scheduled.
    pub coefficient: f64,
    /// Which latents are dead; `None` if nobody counts.
    pub dead: Option<&'a [bool]>,
    /// Weights of the rows' squared errors; all one if there are none.
    pub row_weights: Option<&'a [f32]>,
}

/// Losses under SAELens' names.
pub type Losses = Vec<(Cow<'static, str>, f64)>;

/// What a step computed besides gradients.
pub struct Pass {
    /// Every loss; the total is their sum.
    pub losses: Losses,
    /// What the architecture reports besides, under SAELens' names.
    pub metrics: Vec<(&'static str, f64)>,
    /// Latents of the batch, none of them zero.
    pub codes: Codes,
    /// Reconstruction, `[n, d_in]`.
    pub out: Vec<f32>,
}

impl Pass {
    /// The loss that is minimised.
    pub fn loss(&self) -> f64 {
        self.losses.iter().map(|(_, loss)| loss).sum()
    }
}

/// How one architecture is trained.
pub trait Recipe: Send + Sync {
    /// SAELens' name of the architecture.
    fn name(&self) -> &'static str;

    /// Names of the tensors of one number per latent.
    fn per_latent(&self) -> &'static [&'static str];

    /// SAELens' name of the sparsity coefficient, `l1` or `l0`; `None` where sparsity is built in.
    fn coefficient(&self) -> Option<&'static str>;

    /// Whether the encoder sees `x - b_dec`.
    fn apply_b_dec_to_input(&self) -> bool;

    /// Weights of this architecture, all zero.
    fn zeros(&self, d_in: usize, d_sae: usize) -> Params {
        Params::zeros(d_in, d_sae, self.per_latent())
    }

    /// Whether dead latents learn what is left of the rows as they came, which is of no use to an SAE that
    /// normalises rows by itself.
    fn needs_raw_rows(&self) -> bool {
        false
    }

    /// Share of a batch's smallest positive latent in the threshold that is kept for the time after
    /// training; `None` where there is no such threshold.
    fn threshold_rate(&self) -> Option<f64> {
        None
    }

    /// Where a tensor of one number per latent begins.
    fn initial(&self, _name: &str) -> f32 {
        0.0
    }

    /// Bring weights back to where they may be, before every pass.
    fn prepare(&self, _params: &mut Params) {}

    /// Run a batch and add the gradients of all losses to `grads`.
    fn pass(
        &self,
        params: &Params,
        rows: &Rows<'_>,
        context: StepContext<'_>,
        grads: &mut Params,
    ) -> Pass;

    /// Pre-activations of a batch, `[n, d_sae]`: what SAELens calls `hidden_pre`. For looking at, not
    /// used in training.
    fn hidden_pre(&self, params: &Params, rows: &Rows<'_>) -> Vec<f32>;
}
