//! `attach`: give a computed value a hand-written backward.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Storage, Tensor};

use crate::Result;

type Vjp = Box<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// Carries a value that was computed elsewhere, and the map from its gradient to that of the input.
struct Attached {
    value: Tensor,
    vjp: Vjp,
}

impl CustomOp1 for Attached {
    fn name(&self) -> &'static str {
        "attached-vjp"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let (storage, layout) = self.value.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => candle_core::bail!("the value of an attached backward is not on the cpu"),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some((self.vjp)(grad)?))
    }
}

/// `value`, as a function of `x` whose backward is `vjp` (gradient of the value to gradient of
/// `x`). Where `x` is not tracked, `value` itself comes back and nothing is kept.
///
/// candle's fused softmax, norms and rotations have no backward and raise no error; a value and a
/// closed-form backward give the same bits with and without gradients.
///
/// # Errors
/// The value is not on the CPU while `x` is tracked.
pub fn attach(
    x: &Tensor,
    value: Tensor,
    vjp: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !x.track_op() {
        return Ok(value);
    }
    let value = value.contiguous()?;
    Ok(x.apply_op1(Attached { value, vjp: Box::new(vjp) })?)
}
