//! How many latents are active and how often each is.

use sae_core::sae::Codes;
use serde::Serialize;

/// Added before the logarithm of a density, as in SAELens.
const LOG_FLOOR: f64 = 1e-10;

/// Counts per latent over tokens and prompts.
#[derive(Clone, Debug)]
pub struct Sparsity {
    /// Tokens on which each latent is active, `[d_sae]`.
    pub active_tokens: Vec<u64>,
    /// Prompts in which each latent is active at all, `[d_sae]`.
    pub active_prompts: Vec<u64>,
    tokens: u64,
    l1: f64,
}

/// Means over tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SparsityMetrics {
    /// Active latents.
    pub l0: f64,
    /// Sum of the absolute values of latents.
    pub l1: f64,
}

impl Sparsity {
    /// Nothing seen yet.
    pub fn new(d_sae: usize) -> Self {
        let (active_tokens, active_prompts) = (vec![0; d_sae], vec![0; d_sae]);
        Self { active_tokens, active_prompts, tokens: 0, l1: 0.0 }
    }

    /// Take note of codes whose row `r` belongs to prompt `prompts[r]`; the rows of a prompt follow
    /// each other.
    pub fn add(&mut self, codes: &Codes, prompts: &[usize]) {
        let mut last = vec![usize::MAX; self.active_tokens.len()];
        for (row, prompt) in prompts.iter().enumerate().take(codes.rows()) {
            let (indices, values) = codes.row(row);
            for (index, value) in indices.iter().zip(values).filter(|(_, v)| **v != 0.0) {
                let i = *index as usize;
                self.active_tokens[i] += 1;
                self.l1 += f64::from(value.abs());
                if last[i] != *prompt {
                    last[i] = *prompt;
                    self.active_prompts[i] += 1;
                }
            }
        }
        self.tokens += codes.rows() as u64;
    }

    /// Tokens seen.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Share of tokens on which each latent is active, `[d_sae]`.
    #[allow(clippy::cast_precision_loss)]
    pub fn density(&self) -> Vec<f64> {
        self.active_tokens.iter().map(|n| *n as f64 / self.tokens as f64).collect()
    }

    /// `log10(density + 1e-10)`
    pub fn log10_density(&self) -> Vec<f64> {
        self.density().into_iter().map(|d| (d + LOG_FLOOR).log10()).collect()
    }

    /// Active tokens per prompt in which a latent is active at all, NaN for a dead one: `[d_sae]`.
    #[allow(clippy::cast_precision_loss)]
    pub fn consistent_activation_heuristic(&self) -> Vec<f64> {
        let pairs = self.active_tokens.iter().zip(&self.active_prompts);
        pairs.map(|(tokens, prompts)| *tokens as f64 / *prompts as f64).collect()
    }

    /// The means; NaN before any token.
    #[allow(clippy::cast_precision_loss)]
    pub fn finish(&self) -> SparsityMetrics {
        let tokens = self.tokens as f64;
        let active: u64 = self.active_tokens.iter().sum();
        SparsityMetrics { l0: active as f64 / tokens, l1: self.l1 / tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_counts_once() {
        let codes = Codes::new(3, vec![0, 1, 2, 4], vec![1, 1, 0, 1], vec![1.0; 4]).unwrap();
        let mut sparsity = Sparsity::new(3);
        sparsity.add(&codes, &[0, 0, 1]);
        assert_eq!(sparsity.active_tokens, [1, 3, 0]);
        assert_eq!(sparsity.active_prompts, [1, 2, 0]);
        let cah = sparsity.consistent_activation_heuristic();
        assert!((cah[1] - 1.5).abs() < 1e-12 && cah[2].is_nan());
        assert!((sparsity.finish().l0 - 4.0 / 3.0).abs() < 1e-12);
    }
}
