//! `Floats`: the values of a tensor as they are gathered, in the type in which they will be kept.

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use crate::{Error, Result};

/// The type in which weights stay in memory. Arithmetic is in f32 whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightDtype {
    /// Four bytes.
    #[default]
    F32,
    /// IEEE half precision, two bytes: eleven bits of precision, up to 65504.
    F16,
    /// Two bytes: eight bits of precision, the range of f32.
    BF16,
}

impl WeightDtype {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// candle's name of the type.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }
}

/// Values that come in as f32, part by part.
#[derive(Clone, Debug)]
pub enum Floats {
    /// As they came.
    F32(Vec<f32>),
    /// Rounded to f16.
    F16(Vec<f16>),
    /// Rounded to bf16.
    BF16(Vec<bf16>),
}

impl Floats {
    /// Room for `n` values.
    pub fn with_capacity(dtype: WeightDtype, n: usize) -> Self {
        match dtype {
            WeightDtype::F32 => Self::F32(Vec::with_capacity(n)),
            WeightDtype::F16 => Self::F16(Vec::with_capacity(n)),
            WeightDtype::BF16 => Self::BF16(Vec::with_capacity(n)),
        }
    }

    /// Add values at the end, rounded to nearest even.
    pub fn extend(&mut self, values: impl Iterator<Item = f32>) {
        match self {
            Self::F32(all) => all.extend(values),
            Self::F16(all) => all.extend(values.map(f16::from_f32)),
            Self::BF16(all) => all.extend(values.map(bf16::from_f32)),
        }
    }

    /// As [`Floats::extend`], from f16: unchanged where that is what is kept.
    pub fn extend_f16(&mut self, values: impl Iterator<Item = f16>) {
        match self {
            Self::F16(all) => all.extend(values),
            _ => self.extend(values.map(f16::to_f32)),
        }
    }

    /// As [`Floats::extend`], from bf16: unchanged where that is what is kept.
    pub fn extend_bf16(&mut self, values: impl Iterator<Item = bf16>) {
        match self {
            Self::BF16(all) => all.extend(values),
            _ => self.extend(values.map(bf16::to_f32)),
        }
    }

    /// Add values of the same type at the end.
    ///
    /// # Errors
    /// Of another type.
    pub fn append(&mut self, part: Self) -> Result<()> {
        match (self, part) {
            (Self::F32(all), Self::F32(part)) => all.extend_from_slice(&part),
            (Self::F16(all), Self::F16(part)) => all.extend_from_slice(&part),
            (Self::BF16(all), Self::BF16(part)) => all.extend_from_slice(&part),
            (all, part) => {
                return Err(Error::InputShape {
                    what: "a part of a tensor",
                    got: vec![part.len()],
                    want: format!("values of the type of the {} before", all.len()),
                });
            }
        }
        Ok(())
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(all) => all.len(),
            Self::F16(all) => all.len(),
            Self::BF16(all) => all.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values in f32.
    pub fn into_f32s(self) -> Vec<f32> {
        match self {
            Self::F32(all) => all,
            Self::F16(all) => all.into_iter().map(f16::to_f32).collect(),
            Self::BF16(all) => all.into_iter().map(bf16::to_f32).collect(),
        }
    }

    /// The tensor that they are, without a copy.
    ///
    /// # Errors
    /// Another number of values than the shape holds.
    pub fn into_tensor(self, shape: &[usize]) -> Result<Tensor> {
        Ok(match self {
            Self::F32(values) => Tensor::from_vec(values, shape, &Device::Cpu)?,
            Self::F16(values) => Tensor::from_vec(values, shape, &Device::Cpu)?,
            Self::BF16(values) => Tensor::from_vec(values, shape, &Device::Cpu)?,
        })
    }
}
