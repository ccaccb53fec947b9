//! How strongly a feature fires at most: the workshop's `find_max_activation`.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::arch::select;
use sae_core::model::HookedModel;
use sae_core::sae::Sae;

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
