//! The loop of generation.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
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
    /// position only, as in TransformerLens. Prompts of unequal length are padded on the left, with
    /// a mask; the padding comes back with them.
    ///
    /// # Errors
    /// Options out of range, more tokens than the context holds, or padding on the right.
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
        let padding = left_padding(prompts)?;
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
            let logits = self.next_logits(&rows, &padding, past.as_mut(), &plan)?;
            let mut new = Vec::with_capacity(rows.len());
            for (i, row) in rows.iter().enumerate() {
                new.push(match (&options.stop_at, finished[i]) {
                    (Some(stop), true) => stop.fill,
                    _ => samplers[i].next(&logits[i], &row[padding[i]..])?,
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

    /// Logits after the last token of each row, `d_vocab` each; `padding` positions of a row are none.
    fn next_logits(
        &self,
        rows: &[Vec<u32>],
        padding: &[usize],
        past: Option<&mut KvCache>,
        plan: &Plan<'_>,
    ) -> Result<Vec<Vec<f32>>> {
        let seen = past.as_ref().map_or(0, |past| past.len());
        let new: Vec<Vec<u32>> = rows.iter().map(|row| row[seen..].to_vec()).collect();
        let mut batch = Batch::rows(&new)?;
        if padding.iter().any(|n| *n > seen) {
            batch = batch.with_mask(&mask(padding, seen, rows.first().map_or(0, Vec::len))?)?;
        }
        let run = match past {
            Some(past) => self.run_with_past(&batch, past, plan)?,
            None => self.run(&batch, plan)?,
        };
        Ok(run.require_logits()?.squeeze(1)?.to_vec2::<f32>()?)
    }
}

/// Masked positions at the left of each row.
fn left_padding(prompts: &Batch) -> Result<Vec<usize>> {
    let (n, pos) = prompts.ids().dims2()?;
    let Some(mask) = prompts.mask() else { return Ok(vec![0; n]) };
    let padding = |row: &Vec<u8>| {
        let first = row.iter().position(|seen| *seen != 0).unwrap_or(pos);
        let whole = first < pos && row[first..].iter().all(|seen| *seen != 0);
        whole.then_some(first).ok_or_else(|| Error::InputShape {
            what: "the attention mask of prompts to continue",
            got: row.iter().map(|seen| usize::from(*seen)).collect(),
            want: "padding on the left only, and a token after it".to_owned(),
        })
    };
    Ok(mask.to_vec2::<u8>()?.iter().map(padding).collect::<Result<_, Error>>()?)
}

/// Positions `from..to` of the attention mask of rows padded so on the left.
fn mask(padding: &[usize], from: usize, to: usize) -> Result<Tensor> {
    let rows = padding.iter().flat_map(|n| (from..to).map(|p| u8::from(p >= *n)));
    Ok(Tensor::from_vec(rows.collect::<Vec<u8>>(), (padding.len(), to - from), &Device::Cpu)?)
}
