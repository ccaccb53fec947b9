//! Steering: a feature's direction added to the stream, again and again.

use sae_core::hook::{Add, Plan};
use sae_core::model::HookedModel;
use sae_core::sae::Sae;
use sae_core::{Error, Result};

use crate::point::Point;

/// A plan that adds `amount` times the decoder row of `feature` at the SAE's hook, at every position. The
/// workshop's amount is the feature's largest activation times a strength.
///
/// # Errors
/// A feature that the SAE does not have, or an SAE that does not fit the model.
pub fn steering(
    model: &dyn HookedModel,
    sae: &dyn Sae,
    feature: usize,
    amount: f64,
) -> Result<Plan<'static>> {
    let d_sae = sae.spec().d_sae;
    if feature >= d_sae {
        return Err(Error::FeatureOutOfRange { feature, d_sae });
    }
    let point = Point::of(model, sae)?;
    let row = point.shape_of_hook(&sae.decoder().get(feature)?, model)?;
    Ok(Plan::new().intervene(point.hook, Add((row * amount)?)))
}
