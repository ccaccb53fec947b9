//! Rotary frequencies from a configuration.

use std::f64::consts::TAU;

use sae_core::io::Fields;

use crate::Result;
use crate::config::DecoderConfig;
use crate::rotary::{Pairs, Rotary};

/// More coordinates of a head than any model has.
const MOST: usize = 1 << 16;

/// `base^(-2 j / n_dims)` for each pair `j`.
#[allow(clippy::cast_precision_loss)]
pub(super) fn frequencies(fields: &Fields, base: f64, n_dims: usize) -> Result<Vec<f64>> {
    if n_dims > MOST {
        return Err(fields.wrong("head_dim", &format!("at most {MOST} rotated dimensions")).into());
    }
    Ok((0..n_dims / 2).map(|j| base.powf(-2.0 * j as f64 / n_dims as f64)).collect())
}

/// The fields of rotation: the configuration itself, or the object that newer configurations have.
pub(super) fn parameters(fields: &Fields) -> Result<Fields> {
    Ok(fields.object("rope_parameters")?.unwrap_or_else(|| fields.clone()))
}

/// One rotation for all layers, over the first `n_dims` of each head, as `rope_theta` and
/// `rope_scaling` say.
pub(super) fn halves(fields: &Fields, n_dims: usize) -> Result<Rotary> {
    let base = parameters(fields)?.number("rope_theta")?.unwrap_or(10_000.0);
    let frequencies = vec![scaled(fields, frequencies(fields, base, n_dims)?)?];
    Ok(Rotary { n_dims: even(fields, n_dims)?, pairs: Pairs::Halves, frequencies })
}

/// `round(share of d_head)`, from whichever field says it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(super) fn partial(fields: &Fields, share: Option<f64>, d_head: usize) -> Result<usize> {
    match share {
        None => Ok(d_head),
        Some(share) if (0.0..=1.0).contains(&share) => {
            even(fields, (share * d_head as f64).round() as usize)
        }
        Some(_) => Err(fields.wrong("partial_rotary_factor", "a share from 0 to 1").into()),
    }
}

fn even(fields: &Fields, n_dims: usize) -> Result<usize> {
    match n_dims % 2 {
        0 => Ok(n_dims),
        _ => Err(fields.wrong("head_dim", "an even number of rotated dimensions").into()),
    }
}

/// Frequencies changed as `rope_scaling` says: not, `linear`, or `llama3` by parts.
pub(super) fn scaled(fields: &Fields, frequencies: Vec<f64>) -> Result<Vec<f64>> {
    let Some(scaling) = (match fields.object("rope_parameters")? {
        Some(parameters) => Some(parameters),
        None => fields.object("rope_scaling")?,
    }) else {
        return Ok(frequencies);
    };
    // Older configurations call it `type`.
    let field = if scaling.get("rope_type").is_some() { "rope_type" } else { "type" };
    let need = |field: &str| match scaling.number(field)? {
        Some(number) if number > 0.0 => Ok(number),
        _ => Err(crate::Error::from(scaling.wrong(field, "a number above 0"))),
    };
    match scaling.text(field)?.as_deref() {
        None if field == "type" => Ok(frequencies),
        Some("default") => Ok(frequencies),
        Some("linear") => {
            let factor = need("factor")?;
            Ok(frequencies.into_iter().map(|f| f / factor).collect())
        }
        Some("llama3") => {
            let factor = need("factor")?;
            let (low, high) = (need("low_freq_factor")?, need("high_freq_factor")?);
            let context = need("original_max_position_embeddings")?;
            let by_parts = |f: f64| {
                let wavelength = TAU / f;
                if wavelength > context / low {
                    f / factor
                } else if wavelength < context / high {
                    f
                } else {
                    let smooth = (context / wavelength - low) / (high - low);
                    f * ((1.0 - smooth) / factor + smooth)
                }
            };
            Ok(frequencies.into_iter().map(by_parts).collect())
        }
        _ => Err(scaling.wrong(field, "default, linear or llama3").into()),
    }
}

/// Frequencies divided by factors of their own, one per pair of coordinates.
pub(super) fn divide(config: &mut DecoderConfig, factors: &[f32]) -> Result<()> {
    let Some(rotary) = &mut config.rotary else { return Ok(()) };
    for frequencies in &mut rotary.frequencies {
        if frequencies.len() != factors.len() {
            return Err(sae_core::Error::InputShape {
                what: "the factors of the rotary frequencies",
                got: vec![factors.len()],
                want: format!("[{}]", frequencies.len()),
            }
            .into());
        }
        for (frequency, factor) in frequencies.iter_mut().zip(factors) {
            *frequency /= f64::from(*factor);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn fields(json: &str) -> Result<Fields> {
        Ok(Fields::parse(Path::new("config.json"), json.as_bytes())?)
    }

    #[test]
    fn long_wavelengths_of_llama_3_are_stretched_and_short_ones_kept() -> Result<()> {
        let fields = fields(
            r#"{"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192}}"#,
        )?;
        let got = halves(&fields, 128)?.frequencies.remove(0);
        let plain = frequencies(&fields, 500_000.0, 128)?;
        assert_eq!(got[0].to_bits(), plain[0].to_bits());
        assert!((got[63] * 8.0 / plain[63] - 1.0).abs() < 1e-12);
        assert!(got.windows(2).all(|pair| pair[1] < pair[0]));
        Ok(())
    }

    #[test]
    fn a_scaling_that_is_not_built_is_refused_by_name() -> Result<()> {
        let fields = fields(r#"{"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}"#)?;
        let error = halves(&fields, 64).unwrap_err().to_string();
        assert!(error.contains("rope_scaling.rope_type") && error.contains("yarn"), "{error}");
        Ok(())
    }
}
