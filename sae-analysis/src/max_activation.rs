//! How strongly a feature fires at most: the workshop's `find_max_activation`.

use candle_core::Tensor;
use sae_core::arch::select;
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
    let alone = select(sae, &[feature])?;
    let mut largest = 0f32;
    for prompts in batches {
        let (x, owners) = point.rows(model, prompts, exclude)?;
        if owners.is_empty() {
            continue;
        }
        let acts = activations(sae, alone.as_deref(), feature, &x)?;
        largest = acts.into_iter().fold(largest, f32::max);
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
    let alone = select(sae, &[feature])?;
    let (mut largest, mut left) = (0f32, rows);
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(batch.max(1));
        let Some(x) = source.next(want)? else { break };
        left -= x.dim(0)? as u64;
        let acts = activations(sae, alone.as_deref(), feature, &x)?;
        largest = acts.into_iter().fold(largest, f32::max);
    }
    Ok(largest)
}

/// The feature's activation on every row.
fn activations(
    sae: &dyn Sae,
    alone: Option<&dyn Sae>,
    feature: usize,
    x: &Tensor,
) -> Result<Vec<f32>> {
    if let Some(alone) = alone {
        return Ok(alone.encode(x)?.0.flatten_all()?.to_vec1()?);
    }
    let (codes, _) = sae.encode_sparse(x)?;
    let of = |row: usize| {
        let (indices, values) = codes.row(row);
        let at = indices.iter().position(|i| *i as usize == feature);
        at.map_or(0.0, |at| values[at])
    };
    Ok((0..codes.rows()).map(of).collect())
}
