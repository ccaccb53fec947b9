//! Matryoshka BatchTopK (arXiv 2503.17547): the first latents must reconstruct by themselves, too.

use sae_core::ops::decode_into;
use sae_core::sae::Codes;

use super::backward::Backward;
use super::topk::{norms, unscaled};
use super::{BatchTopK, Losses, Pass, Recipe, StepContext};
use crate::params::Params;
use crate::residual::{Residual, compare};
use crate::rows::Rows;

/// The Matryoshka BatchTopK architecture.
#[derive(Clone, Debug)]
pub struct Matryoshka {
    /// How latents are chosen.
    pub base: BatchTopK,
    /// Widths of the nested SAEs, rising; the last is all latents.
    pub widths: Vec<usize>,
    /// Dead latents learn what their own level leaves, not what the whole SAE does.
    pub own_aux_loss: bool,
}

/// A nested SAE: the latents that it has more than the one inside it, and its reconstruction.
struct Level {
    from: usize,
    /// Its latents, numbered from 0.
    part: Codes,
    residual: Residual,
}

impl Recipe for Matryoshka {
    fn name(&self) -> &'static str {
        "matryoshka_batchtopk"
    }

    fn per_latent(&self) -> &'static [&'static str] {
        self.base.per_latent()
    }

    fn coefficient(&self) -> Option<&'static str> {
        None
    }

    fn apply_b_dec_to_input(&self) -> bool {
        self.base.apply_b_dec_to_input
    }

    fn needs_raw_rows(&self) -> bool {
        true
    }

    fn threshold_rate(&self) -> Option<f64> {
        self.base.threshold_rate()
    }

    fn pass(
        &self,
        params: &Params,
        rows: &Rows<'_>,
        context: StepContext<'_>,
        grads: &mut Params,
    ) -> Pass {
        let norms = norms(self.base.rescale_acts_by_decoder_norm, params);
        let codes = self.base.encode(params, rows, norms.as_deref());
        let mut levels = self.levels(&unscaled(&codes, norms.as_deref()), params, rows, context);
        let back = Backward { params, rows, apply_b_dec_to_input: self.apply_b_dec_to_input() };

        let dead = context.dead.unwrap_or_default();
        let aux = match levels.last() {
            _ if self.own_aux_loss => levels
                .iter()
                .map(|level| {
                    let own: Vec<bool> = level.only(dead);
                    let out = &level.residual.out;
                    self.base.aux().pass(&back, &own, norms.as_deref(), out, grads)
                })
                .sum(),
            Some(whole) => {
                self.base.aux().pass(&back, dead, norms.as_deref(), &whole.residual.out, grads)
            }
            None => 0.0,
        };

        // A latent is part of its own level and of all that follow: their gradients reach it together.
        for i in (1..levels.len()).rev() {
            let (inner, outer) = levels.split_at_mut(i);
            if let (Some(inner), Some(outer)) = (inner.last_mut(), outer.first()) {
                sae_core::ops::vector::add(&mut inner.residual.grad, &outer.residual.grad);
            }
        }
        if let Some(innermost) = levels.first() {
            back.bias(&innermost.residual.grad, grads);
        }
        for level in &levels {
            back.reconstruction(level.from, &level.part, &level.residual.grad, grads);
        }

        let mut losses: Losses = Vec::with_capacity(levels.len() + 1);
        let whole = levels.pop().map(|level| level.residual);
        losses.push(("mse_loss".into(), whole.as_ref().map_or(0.0, |whole| whole.loss)));
        losses.push(("auxiliary_reconstruction_loss".into(), aux));
        losses.extend(
            self.widths.iter().zip(&levels).map(|(width, level)| {
                (format!("inner_mse_loss_{width}").into(), level.residual.loss)
            }),
        );
        let out = whole.map(|whole| whole.out).unwrap_or_default();
        Pass { losses, metrics: Vec::new(), codes, out }
    }

    fn hidden_pre(&self, params: &Params, rows: &Rows<'_>) -> Vec<f32> {
        self.base.hidden_pre(params, rows)
    }
}

impl Matryoshka {
    /// Every level, from the innermost; `decoded` are the codes that decode sees.
    fn levels(
        &self,
        decoded: &Codes,
        params: &Params,
        rows: &Rows<'_>,
        context: StepContext<'_>,
    ) -> Vec<Level> {
        let d_in = params.d_in;
        let mut sum = vec![0f32; rows.raw.len()];
        sum.chunks_exact_mut(d_in.max(1)).for_each(|row| row.copy_from_slice(&params.b_dec));
        let mut more = vec![0f32; rows.raw.len()];
        let zeros = vec![0f32; d_in];
        let mut from = 0;
        let level = |to: &usize| {
            let part = decoded.latents(from, *to);
            decode_into(&mut more, &part, &params.w_dec[from * d_in..to * d_in], &zeros);
            sae_core::ops::vector::add(&mut sum, &more);
            let back = |row| rows.back(row);
            let mut residual =
                compare(sum.clone(), rows.raw, back, rows.n, context.row_weights, 1.0);
            if !self.own_aux_loss && *to < params.d_sae {
                residual.out = Vec::new(); // nobody asks for it
            }
            Level { from: std::mem::replace(&mut from, *to), part, residual }
        };
        self.widths.iter().map(level).collect()
    }
}

impl Level {
    /// Those of the latents that are of this level.
    fn only(&self, dead: &[bool]) -> Vec<bool> {
        let own = self.from..self.from + self.part.d_sae();
        dead.iter().enumerate().map(|(i, dead)| *dead && own.contains(&i)).collect()
    }
}
