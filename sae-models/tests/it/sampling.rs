//! Sampling options, and properties of what is drawn from.

use sae_models::Error;
use sae_models::sampling::{Sampler, Sampling, distribution};

mod prop {
    use super::{Sampling, distribution};
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, proptest};

    proptest! {
        #[test]
        fn probabilities_sum_to_one_and_penalties_never_help(
            logits in vec(-4f32..4.0, 2..30),
            k in 1usize..10,
            p in 0.05f64..1.0,
        ) {
            let top_k = Sampling { top_k: Some(k), ..Sampling::default() };
            let top_p = Sampling { top_p: Some(p), ..Sampling::default() };
            for how in [Sampling::default(), top_k, top_p] {
                let probs = distribution(&logits, &[], &how);
                prop_assert!((probs.iter().sum::<f32>() - 1.0).abs() < 1e-4);
                let punished = Sampling { freq_penalty: 1.0, top_k: None, top_p: None, ..how };
                let plain = Sampling { freq_penalty: 0.0, ..punished.clone() };
                let before = distribution(&logits, &[0, 0], &plain)[0];
                prop_assert!(distribution(&logits, &[0, 0], &punished)[0] <= before + 1e-6);
            }
        }

        #[test]
        fn the_order_of_the_vocabulary_does_not_matter(logits in vec(-4f32..4.0, 2..30), k in 1usize..10) {
            let how = Sampling { top_k: Some(k), ..Sampling::default() };
            let mut turned = logits.clone();
            turned.reverse();
            let mut probs = distribution(&turned, &[], &how);
            probs.reverse();
            for (a, b) in distribution(&logits, &[], &how).iter().zip(&probs) {
                prop_assert!((a - b).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    for (how, says) in [
        (Sampling { temperature: -1.0, ..Sampling::default() }, "temperature is -1"),
        (Sampling { top_k: Some(0), ..Sampling::default() }, "top_k is 0"),
        (Sampling { top_p: Some(1.5), ..Sampling::default() }, "top_p is 1.5"),
        (Sampling { freq_penalty: f64::NAN, ..Sampling::default() }, "freq_penalty is NaN"),
    ] {
        let Err(error @ Error::SamplingOption { .. }) = Sampler::new(&how, 0) else {
            panic!("{says}")
        };
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn the_likeliest_token_is_the_first_of_equals() {
    let mut sampler = Sampler::new(&Sampling::greedy(), 0).unwrap();
    assert_eq!(sampler.next(&[0.5, 2.0, 2.0, 1.0], &[]).unwrap(), 1);
}

#[test]
fn draws_follow_the_distribution() {
    let mut sampler = Sampler::new(&Sampling::default(), 3).unwrap();
    let logits = [0f32, 1.0, f32::NEG_INFINITY];
    let ones = (0..2000).filter(|_| sampler.next(&logits, &[]).unwrap() == 1).count();
    // p = e / (1 + e) = 0.731
    assert!((1380..1545).contains(&ones), "{ones}");
}
