//! Tests of the crate, in one binary.

mod exact;

use candle_core::{Device, Tensor};
use sae_analysis::{top_features, top_logits};
use sae_core::hook::HookName;
use sae_core::sae::Sae;
use sae_core::testing::SplitSae;
use sae_core::{Error, Result};

const AT: HookName = HookName::resid_pre(0);

#[test]
fn the_strongest_features_come_first_and_only_active_ones() -> Result<()> {
    let sae = SplitSae::new(3, AT)?;
    // Latents 0..3 are positive parts, 3..6 negative parts.
    let acts = Tensor::new(&[[9f32, 9.0, 9.0], [0.5, -2.0, 0.0]], &Device::Cpu)?;
    let top = top_features(&sae, &acts, -1, 5)?;
    let found: Vec<(usize, f32)> = top.iter().map(|s| (s.index, s.value)).collect();
    assert_eq!(found, [(4, 2.0), (0, 0.5)]);
    Ok(())
}

#[test]
fn a_position_beyond_the_prompt_is_an_error() -> Result<()> {
    let sae = SplitSae::new(3, AT)?;
    let acts = Tensor::zeros((2, 3), candle_core::DType::F32, &Device::Cpu)?;
    for position in [2, -3] {
        let error = top_features(&sae, &acts, position, 1).unwrap_err();
        assert!(matches!(error, Error::PositionOutOfRange { n_positions: 2, .. }), "{error}");
    }
    Ok(())
}

#[test]
fn promoted_tokens_are_those_along_the_decoder_direction() -> Result<()> {
    let sae = SplitSae::new(2, AT)?;
    let w_u = Tensor::new(&[[1f32, -1.0, 0.0], [0.0, 3.0, 2.0]], &Device::Cpu)?;
    let top = top_logits(&sae, &[1, 2], 2, |d| Ok(d.matmul(&w_u)?))?;
    let ids: Vec<Vec<usize>> = top.iter().map(|t| t.iter().map(|s| s.index).collect()).collect();
    assert_eq!(ids, [[1, 2], [1, 2]]);
    assert!((top[1][0].value - 1.0).abs() < 1e-6);
    Ok(())
}

#[test]
fn a_feature_beyond_the_dictionary_is_an_error() -> Result<()> {
    let sae = SplitSae::new(2, AT)?;
    let error = top_logits(&sae, &[4], 1, |d| Ok(d.clone())).unwrap_err();
    assert!(matches!(error, Error::FeatureOutOfRange { feature: 4, d_sae: 4 }), "{error}");
    assert_eq!(sae.spec().d_sae, 4);
    Ok(())
}
