//! `SplitSae`: an SAE that reconstructs exactly, by construction.

use candle_core::{D, DType, Device, Tensor};

use crate::hook::{HookName, SaeSite};
use crate::sae::{Architecture, Frame, Probe, Sae, SaeSpec};
use crate::{Error, Result};

/// Two latents per coordinate, its positive and its negative part: `d_sae = 2 d_in`, and
/// `reconstruct(x)` is `x`.
pub struct SplitSae {
    spec: SaeSpec,
    decoder: Tensor,
}

impl SplitSae {
    /// For activations of width `d_in` at a hook.
    ///
    /// # Errors
    /// The tensor operation failed.
    pub fn new(d_in: usize, at: HookName) -> Result<Self> {
        let eye = Tensor::eye(d_in, DType::F32, &Device::Cpu)?;
        let spec = SaeSpec::new(Architecture::Standard { tanh: false }, d_in, 2 * d_in).at(at);
        Ok(Self { spec, decoder: Tensor::cat(&[&eye, &eye.neg()?], 0)? })
    }
}

fn require_width(what: &'static str, x: &Tensor, want: usize) -> Result<()> {
    match x.dims() {
        [.., width] if *width == want => Ok(()),
        dims => Err(Error::WrongWidth { what, got: dims.to_vec(), want }),
    }
}

impl Sae for SplitSae {
    fn spec(&self) -> &SaeSpec {
        &self.spec
    }

    fn decoder(&self) -> &Tensor {
        &self.decoder
    }

    fn encode_with(&self, x: &Tensor, probe: &mut dyn Probe) -> Result<(Tensor, Frame)> {
        require_width("the input of the SAE", x, self.spec.d_in)?;
        let x = probe.at(SaeSite::Input, x.clone())?;
        let pre = probe.at(SaeSite::ActsPre, Tensor::cat(&[&x, &x.neg()?], D::Minus1)?)?;
        Ok((probe.at(SaeSite::ActsPost, pre.relu()?)?, Frame::default()))
    }

    fn decode_with(&self, acts: &Tensor, _: &Frame, probe: &mut dyn Probe) -> Result<Tensor> {
        require_width("the latents of the SAE", acts, self.spec.d_sae)?;
        let halves = acts.chunk(2, D::Minus1)?;
        probe.at(SaeSite::Recons, (&halves[0] - &halves[1])?)
    }

    fn tensors(&self) -> Vec<(std::borrow::Cow<'static, str>, Tensor)> {
        vec![("W_dec".into(), self.decoder.clone())]
    }
}
