//! How strongly a feature fires at most: the workshop's `find_max_activation`.

use candle_core::Tensor;
use sae_core::model::HookedModel;
use sae_core::sae::Sae;
use sae_core::source::ActivationSource;
use sae_core::{Error, Result};

use crate::point::Point;

/// The largest activation of `feature` on batches of prompts of equal length, 0 if it never fires.
///
/// Where the architecture admits it, only the feature's own encoder column is computed.
///
/// # Errors
/// A feature that the SAE does not have, or an SAE that does not fit the model.
pub fn find_max_activation(
    model: &dyn HookedModel,
    sae: &dyn Sae,
    feature: usize,
    batches: &[Vec<Vec<u32>>],
    exclude: &[u32],
) -> Result<f32> {
    let point = Point::of(model, sae)?;
    require(sae, feature)?;
    let mut largest = 0f32;
    for prompts in batches {
        let (x, owners) = point.rows(model, prompts, exclude)?;
        if owners.is_empty() {
            continue;
        }
        largest = larger(largest, sae, feature, &x)?;
    }
    Ok(largest)
}

/// The largest activation of `feature` on up to `rows` rows of a source, such as a cache, read `batch` rows
/// at a time; 0 if it never fires. No model runs.
///
/// # Errors
/// A feature that the SAE does not have, or rows of another width than it reads.
pub fn max_activation(
    sae: &dyn Sae,
    feature: usize,
    source: &mut dyn ActivationSource,
    rows: u64,
    batch: usize,
) -> Result<f32> {
    let spec = sae.spec();
    let (at, got) = (source.spec().hook, source.spec().width);
    if got != spec.d_in {
        return Err(Error::WidthMismatch { at, got, want: spec.d_in });
    }
    require(sae, feature)?;
    let (mut largest, mut left) = (0f32, rows);
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(batch.max(1));
        let Some(x) = source.next(want)? else { break };
        left -= x.dim(0)? as u64;
        largest = larger(largest, sae, feature, &x)?;
    }
    Ok(largest)
}

/// That the SAE has the feature, whether or not there are rows to ask it about.
fn require(sae: &dyn Sae, feature: usize) -> Result<()> {
    let d_sae = sae.spec().d_sae;
    if feature < d_sae { Ok(()) } else { Err(Error::FeatureOutOfRange { feature, d_sae }) }
}

/// The larger of `largest` and the feature's activations on all rows.
fn larger(largest: f32, sae: &dyn Sae, feature: usize, x: &Tensor) -> Result<f32> {
    let acts = sae.encode_features(x, &[feature])?.flatten_all()?.to_vec1::<f32>()?;
    Ok(acts.into_iter().fold(largest, f32::max))
}
