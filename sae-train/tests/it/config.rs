//! Configurations: accepted as SAELens has them, or refused with all that is wrong.

use std::path::Path;

use sae_core::sae::{Normalize, Reshape};
use sae_train::config::{BiasInit, DictionarySize, Exclude, Nested, RecipeConfig, Separator};
use sae_train::{Error, TrainConfig};

/// The workshop's run: a gated SAE on tiny-stories-1L-21M.
const WORKSHOP: &str = r#"{
  "architecture": "gated", "model_name": "tiny-stories-1L-21M", "hook_name": "blocks.0.hook_mlp_out",
  "hook_layer": 0, "d_in": 1024, "dataset_path": "apollo-research/roneneldan-TinyStories-tokenizer-gpt2",
  "is_dataset_tokenized": true, "streaming": true, "mse_loss_normalization": null,
  "expansion_factor": 16, "b_dec_init_method": "zeros", "apply_b_dec_to_input": false,
  "normalize_sae_decoder": false, "scale_sparsity_penalty_by_decoder_norm": true,
  "decoder_heuristic_init": true, "init_encoder_as_decoder_transpose": true,
  "normalize_activations": "expected_average_only_in", "lr": 5e-5, "adam_beta1": 0.9,
  "adam_beta2": 0.999, "lr_scheduler_name": "constant", "lr_warm_up_steps": 0,
  "lr_decay_steps": 6000, "l1_coefficient": 5, "l1_warm_up_steps": 1500, "lp_norm": 1.0,
  "train_batch_size_tokens": 4096, "context_size": 512, "n_batches_in_buffer": 64,
  "training_tokens": 122880000, "store_batch_size_prompts": 16, "use_ghost_grads": false,
  "feature_sampling_window": 1000, "dead_feature_window": 1000, "dead_feature_threshold": 1e-4,
  "log_to_wandb": true, "wandb_project": "sae_lens_tutorial", "wandb_log_frequency": 30,
  "eval_every_n_wandb_logs": 20, "device": "cpu", "seed": 42, "n_checkpoints": 0,
  "checkpoint_path": "checkpoints", "dtype": "float32"
}"#;

#[test]
fn the_workshops_configuration_is_accepted() {
    let config = TrainConfig::parse("workshop.json", WORKSHOP.as_bytes()).unwrap();
    assert_eq!(config.recipe, RecipeConfig::Gated);
    assert_eq!(config.size, DictionarySize::Expansion(16));
    assert_eq!(config.d_sae(1024), 16384);
    assert_eq!(config.normalize, Normalize::ExpectedAverageOnlyIn);
    assert_eq!(config.init.b_dec, BiasInit::Zeros);
    assert_eq!(config.init.decoder_norm, Some(0.1));
    assert_eq!((config.steps(), config.log_frequency), (30_000, 30));
    assert!(!config.apply_b_dec_to_input);
}

#[test]
fn a_configuration_of_version_6_is_accepted() {
    let text = r#"{"sae": {"architecture": "topk", "d_in": 768, "d_sae": 12288, "k": 32},
        "hook_name": "blocks.7.hook_resid_pre", "training_tokens": 4e6, "lr": 4e-4,
        "hook_head_index": 3, "sequence_separator_token": null, "seqpos_slice": [null],
        "logger": {"log_to_wandb": false, "wandb_log_frequency": 7}}"#;
    let config = TrainConfig::parse("v6.json", text.as_bytes()).unwrap();
    let RecipeConfig::TopK { k, rescale_acts_by_decoder_norm, .. } = config.recipe else {
        panic!("{:?}", config.recipe)
    };
    assert_eq!((k, rescale_acts_by_decoder_norm), (32, true));
    assert_eq!(config.training_tokens, 4_000_000);
    assert_eq!((config.head, config.separator), (Some(3), Separator::None));
    assert_eq!(config.log_frequency, 7);
    assert!((config.betas.beta1 - 0.9).abs() < 1e-12);
}

#[test]
fn what_current_configurations_say_is_understood() {
    let text = r#"{"sae": {"architecture": "matryoshka_batchtopk", "d_in": 4, "d_sae": 16, "k": 2.5,
            "matryoshka_widths": [4, 8], "topk_threshold_lr": 0.02, "use_matryoshka_aux_loss": true,
            "dtype": "float32", "device": "cuda", "reshape_activations": "hook_z", "metadata": {}},
        "exclude_special_tokens": [0, 50256], "seqpos_slice": [1, -1], "from_pretrained_path": "earlier"}"#;
    let config = TrainConfig::parse("v6.json", text.as_bytes()).unwrap();
    let RecipeConfig::BatchTopK { k, topk_threshold_lr, nested: Some(nested), .. } = config.recipe
    else {
        panic!("{:?}", config.recipe)
    };
    assert_eq!((k, topk_threshold_lr), (2.5, 0.02));
    assert_eq!(nested, Nested { widths: vec![4, 8, 16], own_aux_loss: true });
    assert_eq!(config.exclude_special_tokens, Exclude::Tokens(vec![0, 50256]));
    assert_eq!(config.seqpos_slice.bounds(), (Some(1), Some(-1), None));
    assert_eq!(config.reshape, Reshape::HookZ);
    assert_eq!(config.from_pretrained_path.as_deref(), Some(Path::new("earlier")));
}

/// The problems of a configuration, joined.
fn problems(text: &str) -> String {
    match TrainConfig::parse("bad.json", text.as_bytes()) {
        Err(Error::Config { file, problems }) => format!("{file}: {}", problems.join("; ")),
        Err(other) => panic!("{other}"),
        Ok(config) => panic!("accepted: {config:?}"),
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let said = problems(
        r#"{"architecture": "gated", "d_sae": 10, "expansion_factor": 4, "lr": "fast",
            "hook_name": "blocks.0.hook_resid_pos", "training_token": 5, "lr_warm_up_steps": -1,
            "normalize_activations": "sometimes"}"#,
    );
    for says in [
        "bad.json",
        "`d_sae` and `expansion_factor` are both given",
        "`lr` is \"fast\", expected a number",
        "did you mean `blocks.0.hook_resid_post`",
        "`training_token` is no field of the configuration; did you mean `training_tokens`?",
        "`lr_warm_up_steps` is -1, expected a whole number",
        "`normalize_activations` is `sometimes`, expected one of none",
    ] {
        assert!(said.contains(says), "`{says}` is not in: {said}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (text, says) in [
        ("[]", "not a JSON object"),
        ("{", "not JSON"),
        (
            r#"{"sae": {"architecture": "crosscoder", "d_sae": 8}}"#,
            "`sae.architecture` is `crosscoder`",
        ),
        (r#"{"sae": {"architecture": "topk", "d_sae": 8, "k": 0}}"#, "`sae.k` is 0"),
        (r#"{"sae": {"architecture": "topk"}}"#, "`sae.d_sae` is missing"),
        (
            r#"{"sae": {"architecture": "jumprelu", "d_sae": 8, "jumprelu_sparsity_loss_mode": "quadratic"}}"#,
            "`sae.target_l0` must be above 0",
        ),
        (
            r#"{"sae": {"architecture": "topk", "d_sae": 8, "k": 2, "normalize_activations": "layer_norm"},
                "dead_feature_window": 100}"#,
            "under which topk has no auxiliary loss",
        ),
        (
            r#"{"sae": {"d_sae": 8}, "training_tokens": 8192, "lr_warm_up_steps": 3}"#,
            "do not fit into 2 steps",
        ),
        (r#"{"d_in": 4, "noise_scale": 0.1}"#, "`noise_scale` is 0.1, which is not built"),
        (r#"{"d_in": 4, "seqpos_slice": [5, null, 0]}"#, "expected a step of 1 or more"),
        (r#"{"d_in": 4, "seqpos_slice": [200, null]}"#, "leaves none of 128 positions"),
        (r#"{"d_in": 4, "exclude_special_tokens": "all"}"#, "expected true, false or a list"),
        (r#"{"sae": {"architecture": "topk", "d_sae": 8}}"#, "`sae.k` keeps 100 latents of 8"),
        (
            r#"{"sae": {"architecture": "matryoshka_batchtopk", "d_sae": 8, "k": 2}}"#,
            "`sae.matryoshka_widths` needs to be a list",
        ),
        (
            r#"{"sae": {"architecture": "matryoshka_batchtopk", "d_sae": 8, "k": 2, "matryoshka_widths": [4, 2]}}"#,
            "`sae.matryoshka_widths` must rise",
        ),
        (
            r#"{"sae": {"architecture": "matching_pursuit", "d_sae": 8,
                "normalize_activations": "covariance_whitening"}}"#,
            "cannot be folded into the tied weights",
        ),
        (
            r#"{"d_in": 4, "normalize_sae_decoder": true, "decoder_heuristic_init": true}"#,
            "sets the norms that `normalize_sae_decoder` sets to 1",
        ),
        (r#"{"architecture": "gated", "d_in": 4, "activation_fn": "topk"}"#, "relu in gated SAEs"),
        (
            r#"{"architecture": "gated", "d_in": 4, "use_ghost_grads": true}"#,
            "gated SAEs do not have",
        ),
        (
            r#"{"d_in": 4, "sequence_separator_token": "dot"}"#,
            "expected bos, eos, null or a token id",
        ),
        (r#"{"activation_fn": "topk", "d_in": 4}"#, "`activation_fn_kwargs` needs `k`"),
    ] {
        let said = problems(text);
        assert!(said.contains(says), "`{says}` is not in: {said}");
    }
}
