//! Choosing the next token: TransformerLens' `sample_logits`.

use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Candle};

use crate::{Error, Result};

/// How the next token is chosen; the defaults are TransformerLens'.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Draw; otherwise take the likeliest.
    pub do_sample: bool,
    /// Logits are divided by it; 0 takes the likeliest.
    pub temperature: f64,
    /// Only logits not below the k-th largest; ties with it stay.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens until their probabilities exceed this; ignored with `top_k`.
    pub top_p: Option<f64>,
    /// Subtracted from a logit once for each time its token occurred.
    pub freq_penalty: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            do_sample: true,
            temperature: 1.0,
            top_k: None,
            top_p: None,
            freq_penalty: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { do_sample: false, ..Self::default() }
    }

    /// Whether the likeliest token is taken; the penalty then does not count.
    pub fn is_greedy(&self) -> bool {
        !self.do_sample || self.temperature == 0.0
    }

    fn check(&self) -> Result<()> {
        let bad = |option, got, want| Err(Error::SamplingOption { option, got, want });
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return bad("temperature", self.temperature, "a number not below 0");
        }
        if self.top_k == Some(0) {
            return bad("top_k", 0.0, "at least 1");
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => bad("top_p", p, "above 0 and at most 1"),
            _ if !self.freq_penalty.is_finite() => {
                bad("freq_penalty", self.freq_penalty, "a number")
            }
            _ => Ok(()),
        }
    }
}

/// Logits as they are drawn from, minus infinity where a token cannot come: `logits` `[d_vocab]`,
/// `seen` all tokens so far, prompt included. The temperature must not be 0.
#[allow(clippy::cast_possible_truncation)]
pub fn filtered_logits(logits: &[f32], seen: &[u32], how: &Sampling) -> Vec<f32> {
    let mut scaled: Vec<f32> = logits.iter().map(|l| l / how.temperature as f32).collect();
    if how.freq_penalty > 0.0 {
        let mut counts = vec![0f32; scaled.len()];
        for token in seen {
            if let Some(count) = counts.get_mut(*token as usize) {
                *count += 1.0;
            }
        }
        scaled.iter_mut().zip(counts).for_each(|(l, n)| *l -= how.freq_penalty as f32 * n);
    }
    match (how.top_k, how.top_p) {
        (Some(k), _) => keep_top_k(&mut scaled, k),
        (None, Some(p)) => keep_top_p(&mut scaled, p),
        (None, None) => {}
    }
    scaled
}

/// The distribution that is drawn from, `[d_vocab]`.
pub fn distribution(logits: &[f32], seen: &[u32], how: &Sampling) -> Vec<f32> {
    let mut probs = filtered_logits(logits, seen, how);
    sae_core::ops::softmax_row(&mut probs);
    probs
}

fn keep_top_k(logits: &mut [f32], k: usize) {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    if let Some(least) = sorted.get(k.saturating_sub(1)).copied() {
        logits.iter_mut().filter(|l| **l < least).for_each(|l| *l = f32::NEG_INFINITY);
    }
}

/// An entry goes when the probability of those before it already exceeds `p`; the first stays.
fn keep_top_p(logits: &mut [f32], p: f64) {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    let mut probs: Vec<f32> = order.iter().map(|i| logits[*i]).collect();
    sae_core::ops::softmax_row(&mut probs);
    let mut before = 0f64;
    for (i, prob) in order.iter().zip(probs) {
        if before > p {
            logits[*i] = f32::NEG_INFINITY;
        }
        before += f64::from(prob);
    }
}

/// Chooses tokens of one row, one after the other.
pub struct Sampler {
    how: Sampling,
    draw: LogitsProcessor,
}

impl Sampler {
    /// The sampler of row `row`; rows draw independently, and the same again for the same seed.
    ///
    /// # Errors
    /// An option out of range.
    pub fn new(how: &Sampling, row: u64) -> Result<Self> {
        how.check()?;
        // candle's own top-k and top-p break ties and cut differently from TransformerLens, so what
        // it draws from is filtered here; its plain multinomial draw is the same.
        let plain = Candle::All { temperature: 1.0 };
        let draw = LogitsProcessor::from_sampling(how.seed.wrapping_add(row), plain);
        Ok(Self { how: how.clone(), draw })
    }

    /// The next token: `logits` `[d_vocab]`, `seen` all tokens so far.
    ///
    /// # Errors
    /// No token can come (every logit is NaN or minus infinity).
    #[allow(clippy::cast_possible_truncation)]
    pub fn next(&mut self, logits: &[f32], seen: &[u32]) -> Result<u32> {
        if self.how.is_greedy() {
            let best = logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
            return Ok(best.map_or(0, |(i, _)| i as u32));
        }
        let filtered = filtered_logits(logits, seen, &self.how);
        let n = filtered.len();
        Ok(self.draw.sample(&Tensor::from_vec(filtered, n, &Device::Cpu)?)?)
    }
}
