//! Hook names: text form, typos, axes.

use sae_core::hook::{HookName, Place, SaeSite, Site};

fn all() -> Vec<HookName> {
    let mut names = vec![HookName::EMBED, HookName::POS_EMBED, HookName::FINAL_SCALE];
    names.extend([
        HookName::FINAL_NORMALIZED,
        HookName::new(Place::UnembedIn),
        HookName::new(Place::UnembedOut),
    ]);
    names.extend(Site::ALL.iter().map(|site| HookName::block(31, *site)));
    let inner: Vec<_> =
        names.iter().flat_map(|at| SaeSite::ALL.iter().map(|site| at.sae(*site))).collect();
    names.extend(inner);
    names
}

#[test]
fn every_name_is_read_back_from_its_text() {
    for name in all() {
        assert_eq!(name.to_string().parse::<HookName>().unwrap(), name, "{name}");
        assert!(!name.axes().is_empty(), "{name}");
    }
    assert!(size_of::<HookName>() <= 8, "names are passed by value everywhere");
}

#[test]
fn names_are_those_of_transformer_lens() {
    for (name, text) in [
        (HookName::EMBED, "hook_embed"),
        (HookName::POS_EMBED, "hook_pos_embed"),
        (HookName::resid_pre(0), "blocks.0.hook_resid_pre"),
        (HookName::block(3, Site::Ln1Scale), "blocks.3.ln1.hook_scale"),
        (HookName::block(3, Site::AttnScores), "blocks.3.attn.hook_attn_scores"),
        (HookName::block(11, Site::Z), "blocks.11.attn.hook_z"),
        (HookName::block(11, Site::Ln1PostNormalized), "blocks.11.ln1_post.hook_normalized"),
        (HookName::block(2, Site::QNormScale), "blocks.2.attn.q_norm.hook_scale"),
        (HookName::block(2, Site::MlpPreLinear), "blocks.2.mlp.hook_pre_linear"),
        (HookName::FINAL_NORMALIZED, "ln_final.hook_normalized"),
        (
            HookName::resid_pre(7).sae(SaeSite::ActsPost),
            "blocks.7.hook_resid_pre.hook_sae_acts_post",
        ),
    ] {
        assert_eq!(name.to_string(), text);
    }
}

#[test]
fn a_typo_names_the_nearest_hook() {
    for (typo, nearest) in [
        ("blocks.6.hook_resid_pos", "blocks.6.hook_resid_post"),
        ("blocks.6.attn.hook_scores", "blocks.6.attn.hook_attn_scores"),
        ("blocks.6.attn.hook_paterns", "blocks.6.attn.hook_pattern"),
        ("hook_embeds", "hook_embed"),
        ("ln_final.hook_normalised", "ln_final.hook_normalized"),
        ("blocks.1.hook_resid_pre.hook_sae_acts_pst", "blocks.1.hook_resid_pre.hook_sae_acts_post"),
    ] {
        let message = typo.parse::<HookName>().unwrap_err().to_string();
        assert!(message.contains(&format!("did you mean `{nearest}`?")), "{message}");
    }
}

#[test]
fn what_is_no_name_is_refused() {
    for text in [
        "",
        "blocks",
        "blocks.x.hook_resid_pre",
        "blocks.-1.hook_resid_pre",
        "blocks.01.hook_z",
        "blocks.70000.hook_resid_pre",
    ] {
        assert!(text.parse::<HookName>().is_err(), "{text}");
    }
}

#[test]
fn short_names_are_those_of_get_act_name() {
    for (short, layer, full) in [
        ("k", Some(6), "blocks.6.attn.hook_k"),
        ("pre", Some(2), "blocks.2.mlp.hook_pre"),
        ("mlp_post", Some(2), "blocks.2.mlp.hook_post"),
        ("attn", Some(4), "blocks.4.attn.hook_pattern"),
        ("resid_mid", Some(0), "blocks.0.hook_resid_mid"),
        ("ln2.normalized", Some(1), "blocks.1.ln2.hook_normalized"),
        ("embed", None, "hook_embed"),
        ("normalized", None, "ln_final.hook_normalized"),
        ("blocks.1.hook_mlp_out", None, "blocks.1.hook_mlp_out"),
    ] {
        assert_eq!(HookName::short(short, layer).unwrap().to_string(), full);
    }
    assert!(HookName::short("nonsense", Some(1)).is_err());
}
