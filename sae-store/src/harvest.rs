//! Activations of a batch of prompts, one row per token.

use candle_core::{D, DType, Tensor};
use sae_core::hook::Logits;
use sae_core::hook::{HookName, Plan, PosSlice};
use sae_core::model::{Batch, HookedModel};

use crate::Result;

/// What of the activations is wanted.
#[derive(Clone, Debug)]
pub struct Harvest {
    /// Where activations are taken.
    pub hook: HookName,
    /// One head of several; all of them, flattened, otherwise.
    pub head: Option<usize>,
    /// Which positions.
    pub positions: PosSlice,
    /// Tokens whose rows are left out.
    pub exclude: Vec<u32>,
}

/// Rows of activations and the tokens they belong to.
pub struct Harvested {
    /// `[rows, width]`, prompt by prompt.
    pub rows: Tensor,
    /// The token of each row.
    pub tokens: Vec<u32>,
}

impl Harvest {
    /// Everything at a hook.
    pub fn at(hook: HookName) -> Self {
        Self { hook, head: None, positions: PosSlice::All, exclude: Vec::new() }
    }

    /// Width of a row.
    ///
    /// # Errors
    /// The hook never fires in the model, has no vector per position, or has no such head.
    pub fn width(&self, model: &dyn HookedModel) -> Result<usize> {
        let width =
            model.width_at(self.hook)?.ok_or(sae_core::Error::NotPerPosition { at: self.hook })?;
        let spec = model.spec();
        match self.head {
            None => Ok(width),
            Some(head) => {
                let heads = width / spec.d_head.max(1);
                if head >= heads || !width.is_multiple_of(spec.d_head) {
                    let want = format!("a head of `{}` below {heads}", self.hook);
                    let what = "hook_head_index";
                    return Err(sae_core::Error::InputShape { what, got: vec![head], want }.into());
                }
                Ok(spec.d_head)
            }
        }
    }

    /// Run `model` on prompts of equal length, no further than the hook.
    ///
    /// # Errors
    /// The model cannot run them, or the hook has no vector per position.
    pub fn run(&self, model: &dyn HookedModel, prompts: &[Vec<u32>]) -> Result<Harvested> {
        let width = self.width(model)?;
        let plan = Plan::new().capture(self.hook).logits(Logits::Skip);
        let run = model.run(&Batch::rows(prompts)?, &plan)?;
        let mut acts = run.require(self.hook)?.to_dtype(DType::F32)?;
        let length = prompts.first().map_or(0, Vec::len);
        let kept = self.positions.positions(length)?;
        if kept.len() != length {
            let index = Tensor::from_vec(kept.clone(), kept.len(), acts.device())?;
            acts = acts.contiguous()?.index_select(&index, 1)?;
        }
        if let Some(head) = self.head {
            let dim = acts.rank().saturating_sub(2);
            acts = acts.narrow(dim, head, 1)?;
        }
        let rows = acts.elem_count() / width.max(1);
        let acts = acts.reshape((rows, width))?.contiguous()?;
        let tokens: Vec<u32> =
            prompts.iter().flat_map(|p| kept.iter().map(|i| p[*i as usize])).collect();
        if self.exclude.is_empty() {
            return Ok(Harvested { rows: acts, tokens });
        }
        let wanted: Vec<u32> = (0u32..)
            .zip(&tokens)
            .filter(|(_, token)| !self.exclude.contains(token))
            .map(|(i, _)| i)
            .collect();
        let tokens = wanted.iter().map(|i| tokens[*i as usize]).collect();
        let n = wanted.len();
        let acts = match n {
            0 => Tensor::zeros((0, width), DType::F32, acts.device())?,
            _ => acts.index_select(&Tensor::from_vec(wanted, n, acts.device())?, 0)?,
        };
        debug_assert_eq!(acts.dim(D::Minus1)?, width);
        Ok(Harvested { rows: acts, tokens })
    }

    /// How many rows [`Harvest::run`] will give, without running anything.
    ///
    /// # Errors
    /// Positions that prompts of this length do not have.
    pub fn count(&self, prompts: &[Vec<u32>]) -> Result<usize> {
        let length = prompts.first().map_or(0, Vec::len);
        let kept = self.positions.positions(length)?;
        let wanted =
            |p: &Vec<u32>| kept.iter().filter(|i| !self.exclude.contains(&p[**i as usize])).count();
        Ok(prompts.iter().map(wanted).sum())
    }
}
