//! `Splice`: an SAE inside a running model.

use candle_core::{DType, Device, Tensor};

use super::{Probe, Sae};
use crate::hook::{Cursor, HookName, Intervene, Plan, SaeSite};
use crate::{Error, Result};

/// Puts an SAE's reconstruction in place of an activation; a transcoder's, in place of what the part
/// of the model did that it stands for.
///
/// Fires `hook_sae_input`, `_acts_pre`, `_acts_post`, `_recons`, `_error` (only with the error
/// term) and `_output` under the name of its place; plans may capture, change and tap each.
///
/// With the error term the output is `decode(acts) + (x - clean reconstruction)`, the latter
/// detached: without edits the model is unchanged, and an edit `f -> f'` of the latents moves the
/// output by exactly `(f' - f) W_dec` (SAELens, `use_error_term`).
pub struct Splice<'s> {
    sae: &'s dyn Sae,
    use_error_term: bool,
    straight_through: bool,
    exclude_tokens: Vec<u32>,
}

impl<'s> Splice<'s> {
    /// The SAE alone: its output takes the place of the activation.
    pub fn new(sae: &'s dyn Sae) -> Self {
        Self { sae, use_error_term: false, straight_through: false, exclude_tokens: Vec::new() }
    }

    /// Whether to add the reconstruction error back.
    #[must_use]
    pub fn use_error_term(mut self, yes: bool) -> Self {
        self.use_error_term = yes;
        self
    }

    /// Let gradients pass to what lies upstream as if the SAE were the identity, and reach the latents
    /// through the decoder alone.
    #[must_use]
    pub fn straight_through(mut self, yes: bool) -> Self {
        self.straight_through = yes;
        self
    }

    /// Leave positions that hold one of these tokens as they are (SAELens'
    /// `exclude_special_tokens`). Only for runs that begin from tokens.
    #[must_use]
    pub fn exclude_tokens(mut self, tokens: impl Into<Vec<u32>>) -> Self {
        self.exclude_tokens = tokens.into();
        self
    }

    /// `[batch, pos, 1..]`, 1 where the SAE is bypassed.
    fn bypass(&self, x: &Tensor, at: HookName, hooks: &Cursor<'_, '_>) -> Result<Option<Tensor>> {
        if self.exclude_tokens.is_empty() {
            return Ok(None);
        }
        let batch = hooks.batch().ok_or(Error::TokensUnknown { at })?;
        let ids = batch.ids().flatten_all()?.to_vec1::<u32>()?;
        let mask: Vec<u8> =
            ids.iter().map(|id| u8::from(self.exclude_tokens.contains(id))).collect();
        let mut shape = vec![1; x.rank()];
        shape[..2].copy_from_slice(batch.ids().dims());
        let mask = Tensor::from_vec(mask, shape, &Device::Cpu)?.to_device(x.device())?;
        Ok(Some(mask.to_dtype(DType::U8)?.broadcast_as(x.shape())?.contiguous()?))
    }
}

/// Passes the points of an SAE on to the hooks of the running model.
struct Within<'c, 'p, 'a> {
    at: HookName,
    hooks: &'c mut Cursor<'p, 'a>,
}

impl Probe for Within<'_, '_, '_> {
    fn at(&mut self, site: SaeSite, value: Tensor) -> Result<Tensor> {
        self.hooks.at(self.at.sae(site), value)
    }

    fn wants(&self, site: SaeSite) -> bool {
        self.hooks.wants(self.at.sae(site))
    }
}

impl Intervene for Splice<'_> {
    fn apply(&self, act: Tensor, at: HookName) -> Result<Tensor> {
        let plan = Plan::new();
        self.apply_within(act, at, &mut Cursor::new(&plan, None))
    }

    fn apply_within(
        &self,
        act: Tensor,
        at: HookName,
        hooks: &mut Cursor<'_, '_>,
    ) -> Result<Tensor> {
        let bypass = self.bypass(&act, at, hooks)?;
        let read = match self.reads() {
            Some(from) => hooks.seen(from)?,
            None => act.clone(),
        };
        let mut within = Within { at, hooks };
        let seen = if self.straight_through { read.detach() } else { read.clone() };
        let (acts, frame) = self.sae.encode_with(&seen, &mut within)?;
        let mut out = self.sae.decode_with(&acts, &frame, &mut within)?;
        if self.use_error_term {
            let mut error = (&act - self.sae.reconstruct(&read.detach())?)?.detach();
            if let Some(mask) = &bypass {
                error = mask.where_cond(&error.zeros_like()?, &error)?;
            }
            out = (out + within.at(SaeSite::Error, error)?)?;
        }
        if self.straight_through {
            // Nothing is added but the gradient.
            out = (out + (&act - act.detach())?)?;
        }
        if let Some(mask) = &bypass {
            out = mask.where_cond(&act, &out)?;
        }
        within.at(SaeSite::Output, out)
    }

    /// A transcoder reads its input where it was trained to, and writes where it is spliced in.
    fn reads(&self) -> Option<HookName> {
        let spec = self.sae.spec();
        spec.transcoder.and(spec.hook)
    }

    fn inner_places(&self, at: HookName) -> Vec<HookName> {
        let fires = |site: &&SaeSite| match site {
            SaeSite::Error => self.use_error_term,
            SaeSite::ActsPre => self.sae.spec().architecture.has_pre_activations(),
            _ => true,
        };
        SaeSite::ALL.iter().filter(fires).map(|site| at.sae(*site)).collect()
    }

    fn check(&self, at: HookName, width: Option<usize>) -> Result<()> {
        let want = self.sae.spec().d_out();
        match width {
            None => Err(Error::NotPerPosition { at }),
            Some(got) if got != want => Err(Error::WidthMismatch { at, got, want }),
            Some(_) => Ok(()),
        }
    }
}

/// SAEs in a plan, under the names SAELens users look for.
pub trait SaeExt<'a>: Sized {
    /// Splice these SAEs in, each at its own hook and in the order of the model: a later SAE sees
    /// what the earlier ones left. SAELens' `run_with_saes`.
    ///
    /// # Errors
    /// An SAE that does not say where it belongs, or two SAEs for one hook.
    fn with_saes(self, saes: &[&'a dyn Sae], use_error_term: bool) -> Result<Self>;
}

impl<'a> SaeExt<'a> for Plan<'a> {
    fn with_saes(self, saes: &[&'a dyn Sae], use_error_term: bool) -> Result<Self> {
        let mut plan = self;
        for sae in saes {
            let at = sae.spec().splice_at().ok_or(Error::NoHook)?;
            if !plan.inner_places(at).is_empty() {
                return Err(Error::TwoSaes { at });
            }
            plan = plan.intervene(at, Splice::new(*sae).use_error_term(use_error_term));
        }
        Ok(plan)
    }
}
