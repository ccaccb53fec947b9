//! `Tolerance`: how close is close enough.

use candle_core::{DType, Tensor};

/// `|got - want| <= level * max(1, max |want|)`, the rule of the parity suites.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// The same path twice: the same bits.
    Bits,
    /// Two ways of computing the same in f32.
    F32,
    /// One of the two with weights rounded to two bytes.
    Half,
    /// Gradients in f32, and finite differences of smooth functions.
    Grad,
}

impl Tolerance {
    fn level(self) -> f64 {
        match self {
            Self::Bits => 0.0,
            Self::F32 => 1e-5,
            Self::Half => 1e-2,
            Self::Grad => 1e-3,
        }
    }

    /// Whether `got` is close enough to `want`.
    ///
    /// # Panics
    /// It is not, or the shapes differ: this is an assertion for tests.
    #[track_caller]
    #[allow(clippy::unwrap_used)]
    pub fn check(self, got: &Tensor, want: &Tensor, what: &str) {
        assert_eq!(got.dims(), want.dims(), "{what}: shape");
        // (A tensor whose numbers cannot be had fails the test, as it should.)
        let flat = |t: &Tensor| {
            t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
        };
        let (got, want) = (flat(got), flat(want));
        let largest = want.iter().filter(|w| w.is_finite()).fold(1f64, |m, w| m.max(w.abs()));
        for (i, (g, w)) in got.iter().zip(&want).enumerate() {
            let same = g.to_bits() == w.to_bits() || (g.is_nan() && w.is_nan());
            let close = (g - w).abs() <= self.level() * largest;
            assert!(same || close, "{what}: element {i} is {g}, expected {w} ({self:?})");
        }
    }
}
