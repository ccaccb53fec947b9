//! Which hooks a decoder has, in the order in which they fire.

use sae_core::hook::{HookName, Place, Site};
use sae_core::{Error, Result};

use crate::config::{DecoderConfig, MlpActivation};
use crate::flags::Flags;

/// Every site that some block has, in order.
const ALL: [Site; 41] = [
    Site::ResidPre,
    Site::AttnIn,
    Site::QInput,
    Site::KInput,
    Site::VInput,
    Site::Ln1Scale,
    Site::Ln1Normalized,
    Site::AttnHookIn,
    Site::Q,
    Site::K,
    Site::V,
    Site::QNormScale,
    Site::QNormNormalized,
    Site::KNormScale,
    Site::KNormNormalized,
    Site::RotQ,
    Site::RotK,
    Site::AttnScores,
    Site::Pattern,
    Site::Z,
    Site::Result,
    Site::AttnHookOut,
    Site::Ln1PostScale,
    Site::Ln1PostNormalized,
    Site::AttnOut,
    Site::ResidMid,
    Site::MlpIn,
    Site::Ln2Scale,
    Site::Ln2Normalized,
    Site::MlpHookIn,
    Site::MlpPre,
    Site::MlpPreLinear,
    Site::MlpMid,
    Site::MlpLnScale,
    Site::MlpLnNormalized,
    Site::MlpPost,
    Site::MlpHookOut,
    Site::Ln2PostScale,
    Site::Ln2PostNormalized,
    Site::MlpOut,
    Site::ResidPost,
];

/// Every hook that fires in a full run, in order.
pub(crate) fn places(config: &DecoderConfig, flags: Flags) -> Vec<HookName> {
    let fires = |site: &Site| match flags.of(*site) {
        Some((_, set)) => set,
        // With inputs per head there is no single tensor that attention reads.
        None => *site != Site::AttnHookIn || !flags.per_head_inputs(),
    };
    let has = |site: &Site| has(config, *site) && fires(site);
    let sites: Vec<Site> = ALL.into_iter().filter(has).collect();
    let mut all = vec![HookName::EMBED];
    all.extend(config.rotary.is_none().then_some(HookName::POS_EMBED));
    for layer in 0..config.spec.n_layers {
        all.extend(sites.iter().map(|site| HookName::block(layer, *site)));
    }
    all.extend([HookName::FINAL_SCALE, HookName::FINAL_NORMALIZED]);
    all.extend([HookName::new(Place::UnembedIn), HookName::new(Place::UnembedOut)]);
    all
}

/// Whether blocks of this model have a site at all.
fn has(config: &DecoderConfig, site: Site) -> bool {
    match site {
        Site::QNormScale | Site::QNormNormalized | Site::KNormScale | Site::KNormNormalized => {
            config.qk_norm
        }
        Site::RotQ | Site::RotK => config.rotary.is_some(),
        Site::Ln1PostScale
        | Site::Ln1PostNormalized
        | Site::Ln2PostScale
        | Site::Ln2PostNormalized => config.post_norms,
        Site::ResidMid => !config.parallel && !config.attn_only,
        Site::MlpPreLinear => config.gated_mlp,
        Site::MlpMid | Site::MlpLnScale | Site::MlpLnNormalized => {
            !config.attn_only && config.activation == MlpActivation::Solu { normed: true }
        }
        Site::MlpIn
        | Site::Ln2Scale
        | Site::Ln2Normalized
        | Site::MlpHookIn
        | Site::MlpPre
        | Site::MlpPost
        | Site::MlpHookOut
        | Site::MlpOut => !config.attn_only,
        _ => ALL.contains(&site),
    }
}

/// Width per position at a hook, heads flattened; `None` where there is no vector per position.
pub(crate) fn width_at(
    config: &DecoderConfig,
    flags: Flags,
    at: HookName,
) -> Result<Option<usize>> {
    let spec = &config.spec;
    let missing = |nearest| Error::NoSuchPlace { at, model: spec.name.clone(), nearest };
    let kv_heads = config.shown_kv_heads(flags.ungroup_grouped_query_attention);
    let (layer, site) = match at.place() {
        Place::PosEmbed if config.rotary.is_some() => return Err(missing(Some(HookName::EMBED))),
        Place::FinalScale => return Ok(Some(1)),
        Place::UnembedOut => return Ok(Some(spec.d_vocab)),
        Place::Block(layer, site) => (layer, site),
        _ => return Ok(Some(spec.d_model)),
    };
    if layer >= spec.n_layers {
        let (model, n_layers) = (spec.name.clone(), spec.n_layers);
        return Err(Error::PlaceBeyondLayers { at, model, n_layers });
    }
    if !has(config, site) {
        return Err(missing(stand_in(site).map(|site| HookName::block(layer, site))));
    }
    if let Some((flag, false)) = flags.of(site) {
        return Err(Error::NeedsOptIn { at, flag });
    }
    if site == Site::AttnHookIn && flags.per_head_inputs() {
        return Err(missing(Some(HookName::block(layer, Site::Ln1Normalized))));
    }
    Ok(match site {
        Site::AttnScores
        | Site::Pattern
        | Site::QNormScale
        | Site::QNormNormalized
        | Site::KNormScale
        | Site::KNormNormalized => None,
        Site::Ln1Scale
        | Site::Ln2Scale
        | Site::Ln1PostScale
        | Site::Ln2PostScale
        | Site::MlpLnScale => Some(1),
        Site::Q | Site::RotQ | Site::Z => Some(spec.n_heads * spec.d_head),
        Site::K | Site::V | Site::RotK => Some(kv_heads * spec.d_head),
        Site::MlpPre
        | Site::MlpPreLinear
        | Site::MlpMid
        | Site::MlpLnNormalized
        | Site::MlpPost => Some(spec.d_mlp),
        Site::AttnIn | Site::QInput | Site::Result => Some(spec.n_heads * spec.d_model),
        Site::KInput | Site::VInput => Some(kv_heads * spec.d_model),
        _ => Some(spec.d_model),
    })
}

/// What this family has in place of a site of another.
fn stand_in(site: Site) -> Option<Site> {
    Some(match site {
        Site::RotQ | Site::QNormNormalized => Site::Q,
        Site::RotK | Site::KNormNormalized => Site::K,
        Site::Ln1PostNormalized => Site::AttnOut,
        Site::Ln2PostNormalized => Site::MlpOut,
        Site::ResidMid => Site::ResidPre,
        Site::MlpPreLinear => Site::MlpPre,
        Site::MlpMid | Site::MlpLnNormalized => Site::MlpPost,
        Site::MlpOut => Site::AttnOut,
        _ => return None,
    })
}
