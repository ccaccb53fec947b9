//! Schedules of learning rate and sparsity coefficients, as in SAELens
//! (`sae_lens/training/optim.py`, version 6.54).

use std::f64::consts::PI;

/// A schedule that contradicts itself.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// Warm-up and decay leave nothing for the main phase.
    #[error("{warm_up_steps} warm-up and {decay_steps} decay steps do not fit into {steps} steps")]
    TooShort {
        /// Training steps.
        steps: u64,
        /// Steps of warm-up.
        warm_up_steps: u64,
        /// Steps of decay.
        decay_steps: u64,
    },
    /// Restarts without room.
    #[error("{cycles} cycles do not fit into {steps} steps")]
    Cycles {
        /// Steps of the main phase.
        steps: u64,
        /// Cycles.
        cycles: u64,
    },
    /// A name that is no schedule.
    #[error(
        "lr scheduler `{name}`, expected one of constant, cosineannealing, cosineannealingwarmrestarts"
    )]
    Unknown {
        /// The name.
        name: String,
    },
}

/// What the learning rate does between warm-up and decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MainPhase {
    /// Nothing.
    Constant,
    /// Half a cosine from `lr` to `lr_end`.
    CosineAnnealing,
    /// The same, again and again.
    CosineAnnealingWarmRestarts {
        /// How often.
        cycles: u64,
    },
}

impl MainPhase {
    /// From SAELens' `lr_scheduler_name`, in any case; `cycles` counts for restarts only.
    ///
    /// # Errors
    /// A name that is no schedule.
    pub fn named(name: &str, cycles: u64) -> Result<Self, ScheduleError> {
        match name.to_lowercase().as_str() {
            "constant" => Ok(Self::Constant),
            "cosineannealing" => Ok(Self::CosineAnnealing),
            "cosineannealingwarmrestarts" => Ok(Self::CosineAnnealingWarmRestarts { cycles }),
            _ => Err(ScheduleError::Unknown { name: name.to_owned() }),
        }
    }
}

/// Warm-up, main phase, linear decay to zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LrSchedule {
    lr: f64,
    lr_end: f64,
    phase: MainPhase,
    warm_up_steps: u64,
    main_steps: u64,
    decay_steps: u64,
}

impl LrSchedule {
    /// A schedule of `steps` training steps.
    ///
    /// # Errors
    /// Warm-up and decay, or the cycles, do not fit.
    pub fn new(
        phase: MainPhase,
        (lr, lr_end): (f64, f64),
        steps: u64,
        (warm_up_steps, decay_steps): (u64, u64),
    ) -> Result<Self, ScheduleError> {
        let main_steps = steps
            .checked_sub(warm_up_steps + decay_steps)
            .ok_or(ScheduleError::TooShort { steps, warm_up_steps, decay_steps })?;
        if let MainPhase::CosineAnnealingWarmRestarts { cycles } = phase
            && (cycles == 0 || cycles > main_steps)
        {
            return Err(ScheduleError::Cycles { steps: main_steps, cycles });
        }
        Ok(Self { lr, lr_end, phase, warm_up_steps, main_steps, decay_steps })
    }

    /// The rate that step `t` (from 0) uses.
    #[allow(clippy::cast_precision_loss)]
    pub fn at(&self, t: u64) -> f64 {
        if t < self.warm_up_steps {
            return self.lr * (t + 1) as f64 / self.warm_up_steps as f64;
        }
        let s = t - self.warm_up_steps;
        if s < self.main_steps || self.decay_steps == 0 {
            return self.main(s);
        }
        // The first step of decay still has the full value.
        let start = if self.phase == MainPhase::Constant { self.lr } else { self.lr_end };
        let gone = (s - self.main_steps).min(self.decay_steps);
        start * (1.0 - gone as f64 / self.decay_steps as f64)
    }

    #[allow(clippy::cast_precision_loss)]
    fn main(&self, s: u64) -> f64 {
        let cosine = |s: u64, period: u64| {
            let phase = PI * s as f64 / period as f64;
            self.lr_end + (self.lr - self.lr_end) * (1.0 + phase.cos()) / 2.0
        };
        match self.phase {
            MainPhase::Constant => self.lr,
            MainPhase::CosineAnnealing => cosine(s, self.main_steps.max(1)),
            MainPhase::CosineAnnealingWarmRestarts { cycles } => {
                let period = self.main_steps / cycles;
                cosine(s % period, period)
            }
        }
    }
}

/// A sparsity coefficient that rises from 0 in a straight line, then stays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficient {
    /// Its value after warm-up.
    pub final_value: f64,
    /// Steps of warm-up.
    pub warm_up_steps: u64,
}

impl Coefficient {
    /// The value that step `t` (from 0) uses.
    #[allow(clippy::cast_precision_loss)]
    pub fn at(&self, t: u64) -> f64 {
        if t < self.warm_up_steps {
            self.final_value * t as f64 / self.warm_up_steps as f64
        } else {
            self.final_value
        }
    }
}

/// Sample counts after which a checkpoint is due: the multiples of `every` below `total_samples`.
fn multiples(every: u64, total_samples: u64) -> Vec<u64> {
    (1..).map(|i| i * every.max(1)).take_while(|at| *at < total_samples).collect()
}

/// Where SAELens 6 means to write `n` checkpoints: every `ceil(total / (n + 1))` samples.
pub fn checkpoint_thresholds(total_samples: u64, n: u64) -> Vec<u64> {
    if n == 0 { Vec::new() } else { multiples(total_samples.div_ceil(n + 1), total_samples) }
}

/// Where SAELens 5 meant to write `n` checkpoints: every `total / n` samples, rounded down.
pub fn legacy_checkpoint_thresholds(total_samples: u64, n: u64) -> Vec<u64> {
    total_samples.checked_div(n).map_or_else(Vec::new, |every| multiples(every, total_samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_an_error() {
        let schedule = |phase, w, d| LrSchedule::new(phase, (1.0, 0.1), 10, (w, d));
        assert!(matches!(schedule(MainPhase::Constant, 6, 5), Err(ScheduleError::TooShort { .. })));
        let restarts = MainPhase::CosineAnnealingWarmRestarts { cycles: 11 };
        assert!(matches!(schedule(restarts, 0, 0), Err(ScheduleError::Cycles { .. })));
        assert!(MainPhase::named("cosine", 1).is_err());
    }

    #[test]
    fn warm_up_reaches_and_decay_leaves_the_rate() {
        let s = LrSchedule::new(MainPhase::Constant, (2.0, 0.0), 10, (4, 4)).unwrap();
        let rates: Vec<f64> = (0..10).map(|t| s.at(t)).collect();
        assert_eq!(rates, [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5]);
    }
}
