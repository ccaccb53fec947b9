//! `Rows`: a batch as the SAE sees it, and the way back.

use rayon::prelude::*;
use sae_core::sae::Normalize;

use crate::params::Params;

/// SAELens adds this to the standard deviation of `layer_norm`.
const EPS: f32 = 1e-5;

/// A batch of activations, normalised and centred, `[n, d_in]`.
pub struct Rows<'a> {
    /// Number of rows.
    pub n: usize,
    /// Width of a row.
    pub d_in: usize,
    /// As they came.
    pub raw: &'a [f32],
    /// What the encoder multiplies: normalised, `b_dec` subtracted where the SAE does that.
    pub centred: Vec<f32>,
    /// Scale and shift of each row that undo the normalisation.
    pub back: Option<Vec<(f32, f32)>>,
}

impl<'a> Rows<'a> {
    /// `raw`: `[n, d_in]`.
    pub fn new(
        raw: &'a [f32],
        params: &Params,
        normalize: Normalize,
        apply_b_dec_to_input: bool,
    ) -> Self {
        let d_in = params.d_in;
        let n = raw.len() / d_in.max(1);
        let mut centred = vec![0f32; raw.len()];
        let mut back = vec![(1f32, 0f32); n];
        centred
            .par_chunks_exact_mut(d_in.max(1))
            .zip(raw.par_chunks_exact(d_in.max(1)))
            .zip(back.par_iter_mut())
            .for_each(|((row, x), back)| {
                *back = standardise(normalize, x);
                let (scale, shift) = *back;
                let scale = match normalize {
                    Normalize::LayerNorm => scale + EPS,
                    _ => scale,
                };
                for (i, (y, x)) in row.iter_mut().zip(x).enumerate() {
                    *y = if back == &(1.0, 0.0) { *x } else { (x - shift) / scale };
                    if apply_b_dec_to_input {
                        *y -= params.b_dec[i];
                    }
                }
            });
        let normalised = matches!(normalize, Normalize::ConstantNormRescale | Normalize::LayerNorm);
        Self { n, d_in, raw, centred, back: normalised.then_some(back) }
    }

    /// Scale and shift that undo the normalisation of row `row`.
    pub(crate) fn back(&self, row: usize) -> (f32, f32) {
        self.back.as_ref().map_or((1.0, 0.0), |back| back[row])
    }
}

/// Scale and shift that make `x` again from its normalised form.
#[allow(clippy::cast_precision_loss)]
fn standardise(normalize: Normalize, x: &[f32]) -> (f32, f32) {
    let n = x.len() as f32;
    let squares = |centre: f32| sae_core::ops::vector::sum_squares(x, centre);
    match normalize {
        Normalize::ConstantNormRescale => (squares(0.0).sqrt() / n.sqrt(), 0.0),
        Normalize::LayerNorm => {
            let mean = sae_core::ops::vector::sum(x) / n;
            ((squares(mean) / (n - 1.0)).sqrt(), mean)
        }
        _ => (1.0, 0.0),
    }
}
