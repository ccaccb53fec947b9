//! Gated (arXiv 2404.16014): squared error, an L1 penalty on the open gates, and the reconstruction
//! from the gates alone.

use sae_core::ops::{ByLatent, dots_at, encode_rows};
use sae_core::sae::Codes;

use super::backward::{Backward, dense, operands};
use super::sparsity::penalty;
use super::{Pass, Recipe, StepContext};
use crate::params::{Params, row_norms};
use crate::residual::reconstruct;
use crate::rows::Rows;

/// The gated architecture.
#[derive(Clone, Debug)]
pub struct Gated {
    /// Whether the encoder sees `x - b_dec`.
    pub apply_b_dec_to_input: bool,
}

/// One number per open gate.
struct Gates {
    /// The gates' pre-activations, all positive.
    open: Codes,
    /// `x W_enc`
    shared: Vec<f32>,
    /// The latents, some of them zero.
    acts: Vec<f32>,
}

impl Recipe for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn per_latent(&self) -> &'static [&'static str] {
        &["b_gate", "b_mag", "r_mag"]
    }

    fn coefficient(&self) -> Option<&'static str> {
        Some("l1")
    }

    fn apply_b_dec_to_input(&self) -> bool {
        self.apply_b_dec_to_input
    }

    fn pass(
        &self,
        params: &Params,
        rows: &Rows<'_>,
        context: StepContext<'_>,
        grads: &mut Params,
    ) -> Pass {
        let [_, _, r_mag] = params.latent();
        let factor: Vec<f32> = r_mag.iter().map(|r| r.exp()).collect();
        let gates = self.gates(params, rows, &factor);
        let codes = gates.open.clone().replace(gates.acts.clone());
        let main = reconstruct(&codes, params, rows, context.row_weights);
        // Nothing of this path is detached, as in SAELens (the paper freezes a copy of the decoder).
        let aux = reconstruct(&gates.open, params, rows, None);
        let norms = row_norms(&params.w_dec, params.d_in);
        let l1 = penalty(&gates.open, Some(&norms), context.coefficient, 1.0);

        let d_in = params.d_in;
        let mut d_mag = dots_at(&codes, &main.grad, &params.w_dec, d_in);
        d_mag.iter_mut().zip(&gates.acts).filter(|(_, f)| **f == 0.0).for_each(|(d, _)| *d = 0.0);
        let mut d_gate = dots_at(&gates.open, &aux.grad, &params.w_dec, d_in);
        d_gate.iter_mut().zip(&l1.grad).for_each(|(d, l)| *d += l);

        let by = ByLatent::new(&gates.open);
        let apply_b_dec_to_input = self.apply_b_dec_to_input;
        let back = Backward { params, rows, apply_b_dec_to_input };
        back.decoder(&by, &gates.acts, &main.grad, grads);
        back.decoder(&by, gates.open.values(), &aux.grad, grads);
        back.bias(&main.grad, grads);
        back.bias(&aux.grad, grads);
        l1.add_to_decoder(params, &norms, grads);

        let of = |e: usize| factor[gates.open.indices()[e] as usize];
        let slope: Vec<f32> =
            d_gate.iter().zip(&d_mag).enumerate().map(|(e, (g, m))| g + m * of(e)).collect();
        let d_factor: Vec<f32> =
            d_mag.iter().zip(&gates.shared).enumerate().map(|(e, (m, s))| m * s * of(e)).collect();
        back.encoder(&by, &slope, grads);
        for (i, per_entry) in [&d_gate, &d_mag, &d_factor].into_iter().enumerate() {
            sae_core::ops::vector::add(grads.latent_mut(i), &by.sums(per_entry));
        }
        let losses = vec![
            ("mse_loss".into(), main.loss),
            ("l1_loss".into(), l1.loss),
            ("auxiliary_reconstruction_loss".into(), aux.loss),
        ];
        Pass { losses, metrics: Vec::new(), codes: codes.without_zeros(), out: main.out }
    }

    fn hidden_pre(&self, params: &Params, rows: &Rows<'_>) -> Vec<f32> {
        let [_, b_mag, r_mag] = params.latent();
        dense(params, rows, |col, h| {
            let affine = r_mag[col..].iter().zip(&b_mag[col..]);
            h.iter_mut().zip(affine).for_each(|(h, (r, b))| *h = *h * r.exp() + b);
        })
    }
}

impl Gated {
    #[allow(clippy::cast_possible_truncation, clippy::neg_cmp_op_on_partial_ord)]
    fn gates(&self, params: &Params, rows: &Rows<'_>, factor: &[f32]) -> Gates {
        let [b_gate, b_mag, _] = params.latent();
        let codes = match operands(params, rows) {
            Some((x, w)) => encode_rows(x, w, |col, products, kept| {
                for (j, s) in (col..).zip(products.iter()) {
                    if !(s + b_gate[j] <= 0.0) {
                        kept.push((j as u32, *s));
                    }
                }
            }),
            None => Codes::empty(rows.n, params.d_sae),
        };
        let shared = codes.values().to_vec();
        let acts = codes.indices().iter().zip(&shared).map(|(i, s)| {
            let magnitude = s * factor[*i as usize] + b_mag[*i as usize];
            if magnitude <= 0.0 { 0.0 } else { magnitude }
        });
        let acts = acts.collect();
        Gates { open: codes.map_indexed(|i, s| s + b_gate[i]), shared, acts }
    }
}
