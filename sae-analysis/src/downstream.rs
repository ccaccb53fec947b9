//! What an SAE does to the model's predictions: cross entropy and divergence, in f64.

use rayon::prelude::*;
use serde::Serialize;

/// Sums over positions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Downstream {
    positions: f64,
    kl_sae: f64,
    kl_ablation: f64,
    losses: f64,
    ce: f64,
    ce_sae: f64,
    ce_ablation: f64,
}

/// How the next-token loss holds up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Performance {
    /// `(ablation - sae) / (ablation - without)`
    pub ce_loss_score: f64,
    /// With the hook set to zero.
    pub ce_loss_with_ablation: f64,
    /// With the SAE.
    pub ce_loss_with_sae: f64,
    /// The model alone.
    pub ce_loss_without_sae: f64,
}

/// How the predicted distribution holds up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Behavior {
    /// `(ablation - sae) / ablation`
    pub kl_div_score: f64,
    /// From the model alone to the hook set to zero.
    pub kl_div_with_ablation: f64,
    /// From the model alone to the SAE.
    pub kl_div_with_sae: f64,
}

/// Logits of one prompt `[pos, d_vocab]`: of the model alone, with the SAE, with the hook at zero.
#[derive(Clone, Copy, Debug)]
pub struct Predictions<'a> {
    /// The model alone.
    pub plain: &'a [f32],
    /// With the SAE.
    pub sae: &'a [f32],
    /// With the hook set to zero.
    pub ablated: &'a [f32],
}

impl Downstream {
    /// Take note of a prompt: its tokens, and which positions count.
    pub fn add(&mut self, logits: Predictions<'_>, tokens: &[u32], kept: &[bool]) {
        let d_vocab = logits.plain.len() / tokens.len().max(1);
        let at = |all: &'_ [f32], pos: usize| log_softmax(&all[pos * d_vocab..][..d_vocab]);
        let each: Vec<[f64; 6]> = (0..tokens.len())
            .into_par_iter()
            .filter(|pos| kept[*pos])
            .map(|pos| {
                let plain = at(logits.plain, pos);
                let (sae, ablated) = (at(logits.sae, pos), at(logits.ablated, pos));
                let mut found =
                    [divergence(&plain, &sae), divergence(&plain, &ablated), 0., 0., 0., 0.];
                if let Some(next) = tokens.get(pos + 1) {
                    let next = *next as usize;
                    found[2..].copy_from_slice(&[1.0, -plain[next], -sae[next], -ablated[next]]);
                }
                found
            })
            .collect();
        self.positions += f64::from(u32::try_from(each.len()).unwrap_or(u32::MAX));
        for [kl_sae, kl_ablation, counts, ce, ce_sae, ce_ablation] in each {
            self.kl_sae += kl_sae;
            self.kl_ablation += kl_ablation;
            self.losses += counts;
            self.ce += ce;
            self.ce_sae += ce_sae;
            self.ce_ablation += ce_ablation;
        }
    }

    /// Mean losses and their score.
    pub fn performance(&self) -> Performance {
        let n = self.losses;
        let (plain, sae, ablated) = (self.ce / n, self.ce_sae / n, self.ce_ablation / n);
        Performance {
            ce_loss_score: (ablated - sae) / (ablated - plain),
            ce_loss_with_ablation: ablated,
            ce_loss_with_sae: sae,
            ce_loss_without_sae: plain,
        }
    }

    /// Mean divergences and their score.
    pub fn behavior(&self) -> Behavior {
        let (sae, ablated) = (self.kl_sae / self.positions, self.kl_ablation / self.positions);
        Behavior {
            kl_div_score: (ablated - sae) / ablated,
            kl_div_with_ablation: ablated,
            kl_div_with_sae: sae,
        }
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted: Vec<f64> = logits.iter().map(|l| f64::from(*l) - f64::from(largest)).collect();
    let total = shifted.iter().map(|s| s.exp()).sum::<f64>().ln();
    shifted.into_iter().map(|s| s - total).collect()
}

/// `KL(p || q)` of log probabilities.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).filter(|(p, _)| **p > f64::NEG_INFINITY).map(|(p, q)| p.exp() * (p - q)).sum()
}
