//! A look at the f32 values of a tensor on the CPU.

use candle_core::{CpuStorage, DType, Layout, Storage, Tensor};
use parking_lot::RwLockReadGuard;

use crate::{Error, Result};

/// Whether the fused kernels apply.
pub fn is_cpu_f32(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32
}

/// A borrowed view of the f32 values behind a tensor on the CPU.
pub struct F32s<'a> {
    storage: RwLockReadGuard<'a, Storage>,
    layout: &'a Layout,
}

impl<'a> F32s<'a> {
    /// Borrow the values of `x`.
    ///
    /// # Errors
    /// `x` is not f32 on the CPU (check [`is_cpu_f32`] first).
    pub fn new(x: &'a Tensor) -> Result<Self> {
        let (storage, layout) = x.storage_and_layout();
        match &*storage {
            Storage::Cpu(CpuStorage::F32(_)) => Ok(Self { storage, layout }),
            _ => Err(Error::InputShape {
                what: "a tensor for a CPU kernel",
                got: layout.dims().to_vec(),
                want: "f32 on the CPU".to_owned(),
            }),
        }
    }

    /// The values from the first element of the view to the end of the buffer; address them with
    /// [`F32s::strides`].
    pub fn values(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.layout.start_offset()..],
            // `new` admits f32 on the CPU only.
            _ => &[],
        }
    }

    /// The values in order.
    ///
    /// # Errors
    /// The view is not contiguous.
    pub fn contiguous(&self) -> Result<&[f32]> {
        let n = self.layout.shape().elem_count();
        let whole = self.layout.is_contiguous().then(|| self.values().get(..n)).flatten();
        whole.ok_or(Error::LayoutOutside)
    }

    /// Distance between neighbours on each axis, in elements.
    pub fn strides(&self) -> &[usize] {
        self.layout.stride()
    }
}

/// One number per column: `[width]`.
///
/// # Errors
/// Another shape.
pub(super) fn require_width(what: &'static str, x: &Tensor, width: usize) -> Result<()> {
    if x.dims() == [width] {
        return Ok(());
    }
    let (got, want) = (x.dims().to_vec(), format!("[{width}]"));
    Err(Error::InputShape { what, got, want })
}

/// The values of a tensor that has one per column of `w`, `[d_in, d_sae]`.
///
/// # Errors
/// Another shape.
pub(super) fn per_latent(w: &Tensor, values: &Tensor) -> Result<Vec<f32>> {
    require_width("a tensor per latent", values, w.dims2()?.1)?;
    Ok(values.to_vec1()?)
}
