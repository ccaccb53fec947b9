//! The loop of generation.

use std::ops::ControlFlow;

use candle_core::Tensor;
use sae_core::Error;
use sae_core::hook::{Logits, Plan};
use sae_core::model::{Batch, HookedModel};

use super::GenerateOptions;
use crate::sampling::Sampler;
use crate::{Decoder, KvCache, Result};

impl Decoder {
    /// Continue each prompt: rows of prompt and new tokens, all of one length.
    ///
    /// `plan` is in force at every step; with the key/value cache a step shows its hooks the new
    /// position only, as in TransformerLens. Without padding masks: prompts must not be padded.
    ///
    /// # Errors
    /// Options out of range, or more tokens than the context holds.
    pub fn generate(
        &self,
        prompts: &Batch,
        options: &GenerateOptions,
        plan: &Plan<'_>,
    ) -> Result<Vec<Vec<u32>>> {
        self.generate_with(prompts, options, plan, |_| ControlFlow::Continue(()))
    }

    /// As [`Decoder::generate`]; `on_tokens` gets the new token of every row at each step, and may
    /// end the loop.
    ///
    /// # Errors
    /// As [`Decoder::generate`].
    pub fn generate_with(
        &self,
        prompts: &Batch,
        options: &GenerateOptions,
        plan: &Plan<'_>,
        mut on_tokens: impl FnMut(&[u32]) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<u32>>> {
        let mut rows = prompts.ids().to_vec2::<u32>()?;
        let prompt_len = rows.first().map_or(0, Vec::len);
        let n_ctx = self.spec().n_ctx;
        // The last token is chosen, but never run.
        let n_positions = prompt_len + options.max_new_tokens.saturating_sub(1);
        if n_positions > n_ctx {
            return Err(Error::PromptTooLong { n_positions, n_ctx }.into());
        }
        let plan = plan.clone().logits(Logits::Last);
        let mut samplers: Vec<Sampler> = (0u64..)
            .zip(&rows)
            .map(|(i, _)| Sampler::new(&options.sampling, i))
            .collect::<Result<_>>()?;
        let mut past = options.use_past_kv_cache.then(|| KvCache::new(self.spec()));
        let mut finished = vec![false; rows.len()];
        for _ in 0..options.max_new_tokens {
            let logits = self.next_logits(&rows, past.as_mut(), &plan)?.to_vec2::<f32>()?;
            let mut new = Vec::with_capacity(rows.len());
            for (i, row) in rows.iter().enumerate() {
                new.push(match (&options.stop_at, finished[i]) {
                    (Some(stop), true) => stop.fill,
                    _ => samplers[i].next(&logits[i], row)?,
                });
            }
            for ((row, token), done) in rows.iter_mut().zip(&new).zip(&mut finished) {
                row.push(*token);
                *done |= options.stop_at.as_ref().is_some_and(|s| s.tokens.contains(token));
            }
            if on_tokens(&new).is_break() || finished.iter().all(|done| *done) {
                break;
            }
        }
        Ok(rows)
    }

    /// Logits after the last token of each row, `[batch, d_vocab]`.
    fn next_logits(
        &self,
        rows: &[Vec<u32>],
        past: Option<&mut KvCache>,
        plan: &Plan<'_>,
    ) -> Result<Tensor> {
        let run = match past {
            Some(past) => {
                let new: Vec<Vec<u32>> = rows.iter().map(|r| r[past.len()..].to_vec()).collect();
                self.run_with_past(&Batch::rows(&new)?, past, plan)?
            }
            None => self.run(&Batch::rows(rows)?, plan)?,
        };
        Ok(run.require_logits()?.squeeze(1)?)
    }
}
