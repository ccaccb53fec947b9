//! Adam as in PyTorch (`torch.optim.Adam` without weight decay), with the global norm clipped.

use rayon::prelude::*;
use sae_core::ops::vector::widest;

use crate::params::Params;

const CHUNK: usize = 1 << 15;
/// PyTorch's default.
const EPS: f32 = 1e-8;
/// The largest norm of all gradients together, as in SAELens.
pub const MAX_GRAD_NORM: f64 = 1.0;

/// Decay rates of the moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Betas {
    /// Of the mean.
    pub beta1: f64,
    /// Of the uncentred variance.
    pub beta2: f64,
}

impl Default for Betas {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999 }
    }
}

/// The optimiser's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// First moments.
    pub mean: Params,
    /// Second moments.
    pub square: Params,
    /// Steps taken.
    pub steps: u64,
    /// Decay rates.
    pub betas: Betas,
}

impl Adam {
    /// A fresh state for weights of this shape.
    pub fn new(params: &Params, betas: Betas) -> Self {
        Self { mean: params.zeros_like(), square: params.zeros_like(), steps: 0, betas }
    }

    /// One step at rate `lr` along `grads`, clipped to [`MAX_GRAD_NORM`]. Back comes the norm before
    /// clipping.
    pub fn step(&mut self, params: &mut Params, grads: &Params, lr: f64) -> f64 {
        let norm = grads.norm();
        let clip = (MAX_GRAD_NORM / (norm + 1e-6)).min(1.0);
        self.steps += 1;
        let Betas { beta1, beta2 } = self.betas;
        let t = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let update = Update {
            clip: narrow(clip),
            keep1: narrow(beta1),
            new1: narrow(1.0 - beta1),
            keep2: narrow(beta2),
            new2: narrow(1.0 - beta2),
            rate: narrow(lr / (1.0 - beta1.powi(t))),
            root: narrow((1.0 - beta2.powi(t)).sqrt()),
        };
        let moments = self.mean.tensors_mut().zip(self.square.tensors_mut());
        for (((_, p), (_, g)), ((_, m), (_, v))) in
            params.tensors_mut().zip(grads.tensors()).zip(moments)
        {
            p.par_chunks_mut(CHUNK)
                .zip(g.par_chunks(CHUNK))
                .zip(m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)))
                .for_each(|((p, g), (m, v))| update.apply(p, g, m, v));
        }
        norm
    }
}

/// The numbers of one step.
struct Update {
    clip: f32,
    keep1: f32,
    new1: f32,
    keep2: f32,
    new2: f32,
    rate: f32,
    root: f32,
}

impl Update {
    fn apply(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        widest(
            #[inline(always)]
            || {
                for (((p, g), m), v) in p.iter_mut().zip(g).zip(m.iter_mut()).zip(v.iter_mut()) {
                    let g = g * self.clip;
                    *m = self.keep1 * *m + self.new1 * g;
                    *v = self.keep2 * *v + self.new2 * (g * g);
                    *p -= self.rate * *m / (v.sqrt() / self.root + EPS);
                }
            },
        );
    }
}

#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn narrow(x: f64) -> f32 {
    x as f32
}
