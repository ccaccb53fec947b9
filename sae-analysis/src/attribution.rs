//! Feature attribution: gradient of a metric times activation, at SAEs and at hooks of the model.
//!
//! The workshop's `calculate_feature_attribution`: at each SAE the gradient reaches the latents through
//! the decoder, and passes straight on to what lies upstream, as if the SAE were the identity.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::{HookName, Logits, Plan, Run, SaeSite};
use sae_core::model::{Batch, HookedModel};
use sae_core::sae::{Sae, Splice};

/// Keeps a quotient finite, as in the workshop.
const EPS: f64 = 1e-8;

/// Activations, gradients and their product at one place, all of one shape.
#[derive(Clone, Debug)]
pub struct Attribution {
    /// The place: an SAE's hook, or a hook of the model.
    pub at: HookName,
    /// Activations.
    pub activations: Tensor,
    /// Gradients of the metric.
    pub grads: Tensor,
    /// Their product.
    pub attributions: Tensor,
}

/// What a run gave.
#[derive(Debug)]
pub struct Attributions {
    /// The metric.
    pub metric: Tensor,
    /// One per SAE, of its latents.
    pub saes: Vec<Attribution>,
    /// One per tracked hook.
    pub tracked: Vec<Attribution>,
    /// Of the gradient at each SAE's output, the share that belongs to the error term: half with one, none
    /// without.
    pub error_shares: Vec<(HookName, f64)>,
}

/// How to attribute.
#[derive(Clone, Copy, Debug)]
pub struct AttributionOptions<'a> {
    /// Add each SAE's reconstruction error back, so that the model does what it does without SAEs.
    pub use_error_term: bool,
    /// Hooks of the model to attribute to, besides the latents.
    pub track: &'a [HookName],
    /// The logits that the metric is given. [`Logits::Last`] (`[batch, 1, d_vocab]`) spares the unembedding of
    /// all other positions, forwards and backwards.
    pub logits: Logits,
}

impl Default for AttributionOptions<'_> {
    /// With the error term, nothing tracked, all logits.
    fn default() -> Self {
        Self { use_error_term: true, track: &[], logits: Logits::All }
    }
}

/// Attribute `metric`, a scalar made of the logits `[batch, pos, d_vocab]`, to the latents of `saes` and to
/// the hooks that are tracked.
///
/// # Errors
/// SAEs or hooks that do not fit the model, or a metric that does not depend on them.
pub fn attribute(
    model: &dyn HookedModel,
    batch: &Batch,
    saes: &[&dyn Sae],
    AttributionOptions { use_error_term, track, logits }: AttributionOptions<'_>,
    metric: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Attributions> {
    let mut plan = Plan::new().logits(logits);
    let mut hooks = Vec::new();
    for sae in saes {
        let at = sae.spec().hook.ok_or(sae_core::Error::NoHook)?;
        let splice = Splice::new(*sae).use_error_term(use_error_term).straight_through(true);
        plan = plan.intervene(at, splice);
        for site in [SaeSite::ActsPost, SaeSite::Output] {
            plan = plan.tap(at.sae(site)).capture(at.sae(site));
        }
        hooks.push(at);
    }
    // A tracked hook that an SAE replaces is read behind the SAE, where it is tapped already.
    let read = |at: HookName| if hooks.contains(&at) { at.sae(SaeSite::Output) } else { at };
    for at in track.iter().filter(|at| !hooks.contains(at)) {
        plan = plan.tap(*at).capture(*at);
    }
    let run = model.run(batch, &plan)?;
    let metric = metric(run.require_logits()?)?;
    let grads = run.gradients(&metric)?;
    let place = |named: HookName, read: HookName| -> Result<Attribution> {
        let activations = captured(&run, read)?;
        let grads = grads.require(read)?.clone();
        let attributions = (&activations * &grads)?;
        Ok(Attribution { at: named, activations, grads, attributions })
    };
    let mut error_shares = Vec::new();
    for at in &hooks {
        let norm = grads.require(at.sae(SaeSite::Output))?.sqr()?.sum_all()?.sqrt()?;
        let norm = f64::from(norm.to_scalar::<f32>()?);
        let share = if use_error_term { norm / (2.0 * norm + EPS) } else { 0.0 };
        error_shares.push((*at, share));
    }
    Ok(Attributions {
        saes: hooks
            .iter()
            .map(|at| place(*at, at.sae(SaeSite::ActsPost)))
            .collect::<Result<_>>()?,
        tracked: track.iter().map(|at| place(*at, read(*at))).collect::<Result<_>>()?,
        metric: metric.detach(),
        error_shares,
    })
}

fn captured(run: &Run, at: HookName) -> Result<Tensor> {
    Ok(run.require(at)?.detach())
}
