//! One pass over prompts: how often, how strongly and where each feature fires.

use std::cmp::Ordering;

use sae_core::Result;
use sae_core::model::HookedModel;
use sae_core::sae::Sae;

use crate::point::Point;
use crate::sparsity::Sparsity;

/// A place where a feature fires.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Firing {
    /// Which prompt.
    pub prompt: usize,
    /// Which token of it.
    pub position: usize,
    /// How strongly.
    pub value: f32,
}

/// Statistics of every feature.
#[derive(Clone, Debug)]
pub struct FeatureStats {
    /// Tokens and prompts on which each fires.
    pub sparsity: Sparsity,
    /// Sum of each feature's activations, `[d_sae]`.
    pub sums: Vec<f64>,
    /// The strongest firings of each feature, strongest first; earlier ones before equal ones.
    pub top: Vec<Vec<Firing>>,
    n_top: usize,
    prompts: usize,
}

impl FeatureStats {
    /// Nothing seen yet; the `n_top` strongest firings of each of `d_sae` features will be kept.
    pub fn new(d_sae: usize, n_top: usize) -> Self {
        let top = vec![Vec::new(); d_sae];
        let sparsity = Sparsity::new(d_sae);
        Self { sparsity, sums: vec![0.0; d_sae], top, n_top: n_top.max(1), prompts: 0 }
    }

    /// Take note of prompts of equal length; every token counts.
    ///
    /// # Errors
    /// An SAE that does not fit the model, or prompts that it cannot run.
    pub fn add(
        &mut self,
        model: &dyn HookedModel,
        sae: &dyn Sae,
        prompts: &[Vec<u32>],
    ) -> Result<()> {
        let point = Point::of(model, sae)?;
        let (x, owners) = point.rows(model, prompts, &[])?;
        let (codes, _) = sae.encode_sparse(&x)?;
        self.sparsity.add(&codes, &owners);
        let length = prompts.first().map_or(1, Vec::len).max(1);
        for row in 0..codes.rows() {
            let (indices, values) = codes.row(row);
            for (index, value) in indices.iter().zip(values).filter(|(_, v)| **v > 0.0) {
                self.sums[*index as usize] += f64::from(*value);
                let prompt = self.prompts + row / length;
                let firing = Firing { prompt, position: row % length, value: *value };
                keep(&mut self.top[*index as usize], firing, self.n_top);
            }
        }
        self.prompts += prompts.len();
        Ok(())
    }

    /// The largest activation of a feature, 0 if it never fires.
    pub fn max(&self, feature: usize) -> f32 {
        self.top.get(feature).and_then(|t| t.first()).map_or(0.0, |f| f.value)
    }

    /// Features that never fire.
    pub fn dead(&self) -> Vec<usize> {
        let counts = self.sparsity.active_tokens.iter().enumerate();
        counts.filter(|(_, n)| **n == 0).map(|(i, _)| i).collect()
    }
}

/// Put a firing into a list that is sorted and bounded.
fn keep(top: &mut Vec<Firing>, firing: Firing, n: usize) {
    let full = top.len() == n;
    if full && top.last().is_some_and(|last| last.value >= firing.value) {
        return;
    }
    let stronger = |f: &Firing| f.value.total_cmp(&firing.value) != Ordering::Less;
    let at = top.partition_point(stronger);
    top.insert(at, firing);
    top.truncate(n);
}

/// Counts of `values` in `bins` equal bins over `[low, high]`, the last edge included; values outside
/// are not counted.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn histogram(values: &[f64], (low, high): (f64, f64), bins: usize) -> Vec<u64> {
    let mut counts = vec![0; bins];
    for value in values.iter().filter(|v| (low..=high).contains(*v)) {
        let bin = ((value - low) / (high - low) * bins as f64) as usize;
        if let Some(count) = counts.get_mut(bin.min(bins.saturating_sub(1))) {
            *count += 1;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_are_kept_in_order() {
        let mut top = Vec::new();
        for (prompt, value) in [1.0, 5.0, 3.0, 5.0, 2.0, 4.0].into_iter().enumerate() {
            keep(&mut top, Firing { prompt, position: 0, value }, 3);
        }
        let kept: Vec<(usize, f32)> = top.iter().map(|f| (f.prompt, f.value)).collect();
        assert_eq!(kept, [(1, 5.0), (3, 5.0), (5, 4.0)]);
    }

    #[test]
    fn both_ends_of_a_histogram_are_inside() {
        assert_eq!(histogram(&[0.0, 0.5, 1.0, 1.5, -0.1], (0.0, 1.0), 2), [1, 2]);
    }
}
