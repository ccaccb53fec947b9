//! What is logged, under SAELens' names.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::config::Era;
use crate::counters::Counters;

/// Names and values of one step.
pub type Log = Vec<(String, f64)>;

/// How well a batch was reconstructed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// `1 - mean residual / mean variance`
    pub explained_variance: f64,
    /// Mean over rows of `1 - residual / variance`.
    pub explained_variance_legacy: f64,
    /// Its standard deviation.
    pub explained_variance_legacy_std: f64,
}

impl Fit {
    /// Of `out` to `x`, both `[rows, width]`; variances are about the mean of the batch.
    #[allow(clippy::cast_precision_loss)]
    pub fn new(x: &[f32], out: &[f32], width: usize) -> Self {
        let rows = x.len() / width.max(1);
        let mut mean = vec![0f64; width];
        for row in x.chunks_exact(width.max(1)) {
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x));
        }
        mean.iter_mut().for_each(|m| *m /= rows as f64);
        let squares = |(x, y): (&[f32], &[f32])| {
            let residual: f64 = x.iter().zip(y).map(|(x, y)| f64::from(y - x).powi(2)).sum();
            let variance: f64 = x.iter().zip(&mean).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum();
            (residual, variance)
        };
        let pairs: Vec<(f64, f64)> = x
            .par_chunks_exact(width.max(1))
            .zip(out.par_chunks_exact(width.max(1)))
            .map(squares)
            .collect();
        let total = |f: fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>();
        let shares: Vec<f64> = pairs.iter().map(|(r, v)| 1.0 - r / v).collect();
        let legacy = shares.iter().sum::<f64>() / rows as f64;
        let spread = shares.iter().map(|s| (s - legacy).powi(2)).sum::<f64>();
        Self {
            explained_variance: 1.0 - total(|p| p.0) / total(|p| p.1),
            explained_variance_legacy: legacy,
            explained_variance_legacy_std: (spread / (rows as f64 - 1.0)).sqrt(),
        }
    }
}

/// What is known after a step.
pub struct StepFacts<'a> {
    /// Every loss.
    pub losses: &'a [(Cow<'static, str>, f64)],
    /// How well the batch was reconstructed.
    pub fit: Fit,
    /// Mean number of active latents.
    pub l0: f64,
    /// The rate of the next step.
    pub learning_rate: f64,
    /// Name and value of the sparsity coefficient of the next step.
    pub coefficient: Option<(&'static str, f64)>,
    /// Rows trained on.
    pub n_training_samples: u64,
    /// Latents that are dead after the step.
    pub n_dead: usize,
    /// Whose names.
    pub era: Era,
}

/// The metrics of a step.
#[allow(clippy::cast_precision_loss)]
pub fn step_log(facts: &StepFacts<'_>, counters: &Counters) -> Log {
    let passes: u64 = counters.passes_since_fired.iter().sum();
    let mean_passes = passes as f64 / counters.passes_since_fired.len().max(1) as f64;
    let total: f64 = facts.losses.iter().map(|(_, loss)| loss).sum();
    let mut log: Log = vec![
        ("losses/overall_loss".to_owned(), total),
        ("metrics/explained_variance".to_owned(), facts.fit.explained_variance),
        ("metrics/explained_variance_legacy".to_owned(), facts.fit.explained_variance_legacy),
        (
            "metrics/explained_variance_legacy_std".to_owned(),
            facts.fit.explained_variance_legacy_std,
        ),
        ("metrics/l0".to_owned(), facts.l0),
        ("sparsity/mean_passes_since_fired".to_owned(), mean_passes),
        ("sparsity/dead_features".to_owned(), facts.n_dead as f64),
        ("details/current_learning_rate".to_owned(), facts.learning_rate),
    ];
    let rows = if facts.era == Era::V6 { "n_training_samples" } else { "n_training_tokens" };
    log.push((format!("details/{rows}"), facts.n_training_samples as f64));
    log.extend(facts.losses.iter().map(|(name, loss)| (format!("losses/{name}"), *loss)));
    match (facts.coefficient, facts.era) {
        (None, _) => {}
        (Some((name, value)), Era::V6) => log.push((format!("details/{name}_coefficient"), value)),
        (Some((name, value)), Era::V4 | Era::V5) => {
            log.push((format!("details/current_{name}_coefficient"), value));
            // Before version 6 the logged loss was divided by the coefficient.
            let key = format!("losses/{name}_loss");
            if let Some(at) = log.iter().position(|(k, _)| *k == key) {
                let raw = log[at].1;
                log[at].1 = raw / value;
                log.push((format!("losses/raw_{name}_loss"), raw));
            }
        }
    }
    log
}

/// The metrics of a window of the sparsity counters.
#[allow(clippy::cast_precision_loss)]
pub fn window_log(counters: &Counters) -> Log {
    let density = counters.density();
    let logs = counters.log_density();
    let below = |bound: f64| density.iter().filter(|d| **d < bound).count() as f64;
    vec![
        (
            "metrics/mean_log10_feature_sparsity".to_owned(),
            logs.iter().sum::<f64>() / logs.len().max(1) as f64,
        ),
        ("sparsity/below_1e-5".to_owned(), below(1e-5)),
        ("sparsity/below_1e-6".to_owned(), below(1e-6)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perfect_reconstruction_explains_everything() {
        let x = [1.0, 2.0, 3.0, 5.0, 0.0, 1.0];
        let fit = Fit::new(&x, &x, 2);
        assert!((fit.explained_variance - 1.0).abs() < 1e-12);
        assert!((fit.explained_variance_legacy - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_mean_explains_nothing() {
        let fit = Fit::new(&[0.0, 2.0], &[1.0, 1.0], 1);
        assert!(fit.explained_variance.abs() < 1e-12);
    }
}
