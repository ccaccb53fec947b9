//! Generation from texts: batches padded on the left, decoded again without special tokens.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use sae_core::hook::Plan;
use sae_core::model::Batch;

use super::{GenerateOptions, StopAt};
use crate::tokenizer::{PaddingSide, PrependBos, TextStream, Tokenizer};
use crate::{Decoder, Result};

impl Decoder {
    /// Continue each text: prompt and continuation, special tokens left out. Shorter prompts are padded
    /// on the left and masked; without [`GenerateOptions::stop_at`] rows end at the tokenizer's EOS.
    ///
    /// # Errors
    /// As [`Decoder::generate`], and a text that cannot be tokenised.
    pub fn generate_texts(
        &self,
        tokenizer: &Tokenizer,
        texts: &[impl AsRef<str>],
        bos: PrependBos,
        options: &GenerateOptions,
        plan: &Plan<'_>,
    ) -> Result<Vec<String>> {
        let rows = tokenizer.to_tokens_batch(texts, bos, PaddingSide::Left)?;
        let mask = tokenizer.attention_mask(&rows, bos, PaddingSide::Left);
        let padding: Vec<usize> =
            mask.iter().map(|row| row.iter().filter(|seen| **seen == 0).count()).collect();
        let shape = (rows.len(), rows.first().map_or(0, Vec::len));
        let mask = Tensor::from_vec(mask.concat(), shape, &Device::Cpu)?;
        let batch = Batch::rows(&rows)?.with_mask(&mask)?;
        let rows = self.generate(&batch, &ending(options, tokenizer), plan)?;
        let texts = rows.iter().zip(padding).map(|(row, n)| tokenizer.to_plain_string(&row[n..]));
        texts.collect()
    }

    /// Continue one text; `on_text` gets each piece of the continuation as soon as it is whole (a
    /// character may take several tokens), and may end the loop. Comes back with the continuation.
    ///
    /// # Errors
    /// As [`Decoder::generate_texts`].
    pub fn generate_stream(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        bos: PrependBos,
        options: &GenerateOptions,
        plan: &Plan<'_>,
        mut on_text: impl FnMut(&str) -> ControlFlow<()>,
    ) -> Result<String> {
        let prompt = tokenizer.to_tokens(text, bos)?;
        let mut stream = TextStream::after(tokenizer, &prompt)?;
        let (mut whole, mut failed) = (String::new(), None);
        let options = ending(options, tokenizer);
        self.generate_with(&Batch::single(&prompt)?, &options, plan, |new| {
            let piece =
                match new.iter().map(|token| stream.push(*token)).collect::<Result<String>>() {
                    Ok(piece) => piece,
                    Err(error) => {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                };
            whole.push_str(&piece);
            if piece.is_empty() { ControlFlow::Continue(()) } else { on_text(&piece) }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let rest = stream.finish()?;
        if !rest.is_empty() {
            // The end is reached either way.
            let _ = on_text(&rest);
        }
        Ok(whole + &rest)
    }
}

/// The options, ending rows at EOS where they say nothing.
fn ending(options: &GenerateOptions, tokenizer: &Tokenizer) -> GenerateOptions {
    let eos = || StopAt::token(tokenizer.special().eos_id);
    GenerateOptions {
        stop_at: Some(options.stop_at.clone().unwrap_or_else(eos)),
        ..options.clone()
    }
}
