//! The L1 penalty: `coefficient * mean_row || a ||_p`, with `a` the latents times decoder norms.

use sae_core::sae::Codes;

use crate::params::Params;

/// The penalty and its gradients.
pub(super) struct Penalty {
    pub(super) loss: f64,
    /// With respect to each entry of the codes.
    pub(super) grad: Vec<f32>,
    /// With respect to the norm of each decoder row, `[d_sae]`; empty without norms.
    pub(super) grad_norms: Vec<f64>,
}

/// The penalty on `codes`; `norms` `[d_sae]`, all one if there are none. Entries that are zero have no
/// gradient.
#[allow(clippy::cast_precision_loss)]
pub(super) fn penalty(codes: &Codes, norms: Option<&[f32]>, coefficient: f64, p: f64) -> Penalty {
    let to_mean = coefficient / codes.rows().max(1) as f64;
    let mut grad = Vec::with_capacity(codes.values().len());
    let mut grad_norms = vec![0f64; norms.map_or(0, <[f32]>::len)];
    let mut loss = 0f64;
    for row in 0..codes.rows() {
        let (indices, values) = codes.row(row);
        let norm_of = |i: u32| norms.map_or(1.0, |n| f64::from(n[i as usize]));
        let scaled = |(i, v): (&u32, &f32)| f64::from(*v) * norm_of(*i);
        let entries = || indices.iter().zip(values);
        let length = if (p - 1.0).abs() < f64::EPSILON {
            entries().map(scaled).map(f64::abs).sum::<f64>()
        } else {
            entries().map(scaled).map(|a| a.abs().powf(p)).sum::<f64>().powf(1.0 / p)
        };
        loss += length;
        for (i, v) in entries() {
            let a = scaled((i, v));
            let slope = if a == 0.0 {
                0.0
            } else if (p - 1.0).abs() < f64::EPSILON {
                a.signum()
            } else {
                a.signum() * (a.abs() / length).powf(p - 1.0)
            };
            grad.push(narrow(to_mean * slope * norm_of(*i)));
            if let Some(sum) = grad_norms.get_mut(*i as usize) {
                *sum += to_mean * slope * f64::from(*v);
            }
        }
    }
    Penalty { loss: loss * to_mean, grad, grad_norms }
}

impl Penalty {
    /// Add the gradient that reaches `W_dec` through its norms.
    pub(super) fn add_to_decoder(&self, params: &Params, norms: &[f32], grads: &mut Params) {
        let d_in = params.d_in.max(1);
        let rows = grads.w_dec.chunks_exact_mut(d_in).zip(params.w_dec.chunks_exact(d_in));
        for ((g, w), (slope, norm)) in rows.zip(self.grad_norms.iter().zip(norms)) {
            // The norm of a row of zeros has gradient zero, as in PyTorch.
            if *slope != 0.0 && *norm > 0.0 {
                let factor = narrow(slope / f64::from(*norm));
                g.iter_mut().zip(w).for_each(|(g, w)| *g += factor * w);
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // rounding is meant
fn narrow(x: f64) -> f32 {
    x as f32
}
