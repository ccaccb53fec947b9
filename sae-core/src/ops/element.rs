//! `Element`: what weights may be kept in.

use half::{bf16, f16};

/// A number that is summed in f32.
pub trait Element: Copy + Send + Sync {
    /// The same value in f32.
    fn widen(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Element for f16 {
    /// Without branches, so that loops become vector code.
    #[inline(always)]
    fn widen(self) -> f32 {
        /// The biases of the exponents differ by 112.
        const SCALE: f32 = f32::from_bits((127 + 112) << 23);
        const EXPONENT: u32 = 0x7c00;
        let bits = u32::from(self.to_bits());
        // Right for subnormals too: the product normalises them.
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * SCALE;
        // Infinity and NaN keep the largest exponent there is.
        let special = if bits & EXPONENT == EXPONENT { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_to_its_value() {
        for bits in 0..=u16::MAX {
            let (short, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            if short.is_nan() {
                assert!(short.widen().is_nan(), "{bits:#x}");
            } else {
                assert_eq!(short.widen().to_bits(), short.to_f32().to_bits(), "{bits:#x}");
            }
            if brain.is_nan() {
                assert!(brain.widen().is_nan(), "{bits:#x}");
            } else {
                assert_eq!(brain.widen().to_bits(), brain.to_f32().to_bits(), "{bits:#x}");
            }
        }
    }
}
