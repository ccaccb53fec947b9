//! `Point`: where an SAE reads in a model - a hook, and perhaps one head of it.

use candle_core::{D, Tensor};
use sae_core::hook::{Axis, HookName};
use sae_core::model::{Batch, HookedModel, HookedModelExt};
use sae_core::sae::Sae;
use sae_core::{Error, Result};
use serde_json::Value;

/// A hook, and the head that is meant if the SAE reads only one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) hook: HookName,
    head: Option<usize>,
    /// Width of what the SAE reads.
    pub(crate) width: usize,
}

impl Point {
    /// Where `sae` reads in `model`.
    ///
    /// # Errors
    /// It names no hook, the model has none such, or widths differ.
    pub(crate) fn of(model: &dyn HookedModel, sae: &dyn Sae) -> Result<Self> {
        let spec = sae.spec();
        let hook = spec.hook.ok_or(Error::NoHook)?;
        let head = spec.metadata.get("hook_head_index").and_then(Value::as_u64);
        let head = head.map(|h| usize::try_from(h).unwrap_or(usize::MAX));
        let whole = model.width_at(hook)?.ok_or(Error::NotPerPosition { at: hook })?;
        let got = if head.is_some() { model.spec().d_head } else { whole };
        if got != spec.d_in || head.is_some_and(|h| h >= whole / got.max(1)) {
            return Err(Error::WidthMismatch { at: hook, got, want: spec.d_in });
        }
        Ok(Self { hook, head, width: spec.d_in })
    }

    /// What the SAE reads of an activation: `[batch, pos, ..] -> [batch, pos, width]`.
    pub(crate) fn select(&self, act: &Tensor) -> Result<Tensor> {
        let act = match self.head {
            Some(head) => act.narrow(2, head, 1)?,
            None => act.clone(),
        };
        Ok(act.contiguous()?.reshape((act.dim(0)?, act.dim(1)?, self.width))?)
    }

    /// `act` with what the SAE reads replaced by `part` `[batch, pos, width]`.
    pub(crate) fn put(&self, act: &Tensor, part: &Tensor) -> Result<Tensor> {
        let Some(head) = self.head else { return Ok(part.reshape(act.shape())?) };
        let part = part.unsqueeze(2)?;
        let (before, after) = (act.narrow(2, 0, head)?, act.dim(2)? - head - 1);
        let after = act.narrow(2, head + 1, after)?;
        Ok(Tensor::cat(&[&before, &part, &after], 2)?)
    }

    /// `act` with what the SAE reads set to zero.
    pub(crate) fn zero(&self, act: &Tensor) -> Result<Tensor> {
        self.put(act, &self.select(act)?.zeros_like()?)
    }

    /// A direction `[width]` in the shape that the hook has per position: heads apart, other heads zero.
    pub(crate) fn shape_of_hook(&self, row: &Tensor, model: &dyn HookedModel) -> Result<Tensor> {
        let heads_apart = |axis: &Axis| matches!(axis, Axis::Head | Axis::KvHead);
        if !self.hook.axes().iter().any(heads_apart) {
            return Ok(row.clone());
        }
        let d_head = model.spec().d_head;
        let Some(head) = self.head else { return Ok(row.reshape(((), d_head))?) };
        let heads = model.width_at(self.hook)?.unwrap_or(d_head) / d_head.max(1);
        let zero = row.zeros_like()?;
        let rows: Vec<Tensor> =
            (0..heads).map(|h| if h == head { row.clone() } else { zero.clone() }).collect();
        Ok(Tensor::stack(&rows, 0)?)
    }

    /// What the SAE reads on prompts of equal length, a row per token that is not excluded, and the
    /// prompt of each row; the model runs no further than the hook.
    pub(crate) fn rows(
        &self,
        model: &dyn HookedModel,
        prompts: &[Vec<u32>],
        exclude: &[u32],
    ) -> Result<(Tensor, Vec<usize>)> {
        let act = model.activations(&Batch::rows(prompts)?, self.hook)?;
        let x = self.select(&act)?.flatten_to(D::Minus2)?;
        let tokens = prompts.iter().enumerate().flat_map(|(i, p)| p.iter().map(move |t| (i, t)));
        let kept: Vec<(u32, usize)> = (0u32..)
            .zip(tokens)
            .filter(|(_, (_, token))| !exclude.contains(token))
            .map(|(row, (prompt, _))| (row, prompt))
            .collect();
        let owners: Vec<usize> = kept.iter().map(|(_, prompt)| *prompt).collect();
        if owners.len() == x.dim(0)? || owners.is_empty() {
            return Ok((x, owners));
        }
        let rows: Vec<u32> = kept.iter().map(|(row, _)| *row).collect();
        let n = rows.len();
        Ok((x.index_select(&Tensor::from_vec(rows, n, x.device())?, 0)?, owners))
    }
}
