//! Which latents fire, and which have not for long.

/// Added before the logarithm of a density, as in SAELens.
const LOG_FLOOR: f64 = 1e-10;

/// Counts of one training run.
#[derive(Clone, Debug, PartialEq)]
pub struct Counters {
    /// Batches since each latent last fired.
    pub passes_since_fired: Vec<u64>,
    /// Rows on which each latent fired in the current window.
    pub act_freq: Vec<u64>,
    /// Rows in the current window.
    pub rows: u64,
}

impl Counters {
    /// Nothing seen yet.
    pub fn new(d_sae: usize) -> Self {
        Self { passes_since_fired: vec![0; d_sae], act_freq: vec![0; d_sae], rows: 0 }
    }

    /// Latents that have not fired for more than `window` batches.
    pub fn dead(&self, window: u64) -> Vec<bool> {
        self.passes_since_fired.iter().map(|passes| *passes > window).collect()
    }

    /// A batch of `rows` rows was seen; `fired` says on how many of them each latent fired.
    pub fn record(&mut self, fired: impl Iterator<Item = usize>, rows: usize) {
        self.record_signed(fired.map(|n| (n > 0, n)), rows);
    }

    /// As [`Counters::record`] for latents of either sign: whether each fired, and on how many rows it
    /// was not zero. (SAELens 5 says that a latent fired when it was positive.)
    pub fn record_signed(&mut self, active: impl Iterator<Item = (bool, usize)>, rows: usize) {
        let latents = self.passes_since_fired.iter_mut().zip(&mut self.act_freq);
        for ((passes, freq), (fired, n)) in latents.zip(active) {
            *passes = if fired { 0 } else { *passes + 1 };
            *freq += n as u64;
        }
        self.rows += rows as u64;
    }

    /// Begin a new window.
    pub fn reset_window(&mut self) {
        self.act_freq.fill(0);
        self.rows = 0;
    }

    /// How often each latent fires, of the rows of the window.
    #[allow(clippy::cast_precision_loss)]
    pub fn density(&self) -> Vec<f64> {
        self.act_freq.iter().map(|n| *n as f64 / self.rows as f64).collect()
    }

    /// `log10(density + 1e-10)`, SAELens' feature sparsity.
    pub fn log_density(&self) -> Vec<f64> {
        self.density().into_iter().map(|d| (d + LOG_FLOOR).log10()).collect()
    }

    /// Mean number of active latents per row of the window.
    pub fn l0(&self) -> f64 {
        self.density().iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latent_dies_after_more_batches_than_the_window() {
        let mut counters = Counters::new(2);
        for _ in 0..3 {
            assert_eq!(counters.dead(2), [false, false]);
            counters.record([0, 1].into_iter(), 4);
        }
        assert_eq!(counters.dead(2), [true, false]);
        counters.record([1, 0].into_iter(), 4);
        assert_eq!(counters.passes_since_fired, [0, 1]);
        assert_eq!((counters.act_freq[0], counters.rows), (1, 16));
    }

    #[test]
    fn silence_has_a_finite_logarithm() {
        let mut counters = Counters::new(1);
        counters.record([0].into_iter(), 10);
        assert!((counters.log_density()[0] + 10.0).abs() < 1e-12);
    }
}
