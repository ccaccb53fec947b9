//! The strongest features at a position, and the tokens that a feature promotes.

use candle_core::Tensor;
use sae_core::Result;
use sae_core::hook::PosSlice;
use sae_core::ops::top_k_row;
use sae_core::sae::Sae;

/// An index (of a feature, of a token) and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strongest {
    /// Which.
    pub index: usize,
    /// How much.
    pub value: f32,
}

/// The `n` strongest active features at one position, strongest first.
///
/// `activations`: `[pos, d_in]` (or `[pos, head, d_head]` for an SAE on `hook_z`), what the model has
/// at the SAE's hook. `position`: negative from the end. Only that position is encoded.
///
/// # Errors
/// No such position, or activations of another width.
pub fn top_features(
    sae: &dyn Sae,
    activations: &Tensor,
    position: isize,
    n: usize,
) -> Result<Vec<Strongest>> {
    let at = PosSlice::At(position).positions(activations.dim(0)?)?;
    let row = activations.narrow(0, at[0] as usize, 1)?;
    let (codes, _) = sae.encode_sparse(&row)?;
    let (features, values) = codes.row(0);
    let mut strongest = largest(values, n);
    strongest.iter_mut().for_each(|s| s.index = features[s.index] as usize);
    Ok(strongest)
}

/// For each feature the `n` tokens whose logits its decoder direction raises most, strongest first.
///
/// `project` maps directions `[features, d_model]` to logits `[features, d_vocab]`: the model's `W_U`,
/// as processed and without biases.
///
/// # Errors
/// A feature that the SAE does not have, or a decoder that does not write to the residual stream.
pub fn top_logits(
    sae: &dyn Sae,
    features: &[usize],
    n: usize,
    project: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Vec<Vec<Strongest>>> {
    let d_sae = sae.spec().d_sae;
    if let Some(&feature) = features.iter().find(|f| **f >= d_sae) {
        return Err(sae_core::Error::FeatureOutOfRange { feature, d_sae });
    }
    if features.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = features.iter().map(|f| *f as i64).collect();
    let ids = Tensor::from_vec(ids, features.len(), sae.decoder().device())?;
    let logits = project(&sae.decoder().index_select(&ids, 0)?)?;
    Ok(logits.to_vec2::<f32>()?.iter().map(|row| largest(row, n)).collect())
}

/// The `n` largest values, largest first.
fn largest(values: &[f32], n: usize) -> Vec<Strongest> {
    let mut top: Vec<Strongest> = top_k_row(values, n)
        .into_iter()
        .map(|(index, value)| Strongest { index: index as usize, value })
        .collect();
    top.sort_by(|a, b| b.value.total_cmp(&a.value));
    top
}
