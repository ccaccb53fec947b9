//! `HookName`: a place in a forward pass, written as TransformerLens and SAELens write it.

use std::fmt;
use std::str::FromStr;

use super::site::{Axis, SaeSite, Site};
use crate::Error;

/// A place in a transformer's forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Place {
    /// `hook_embed`: token embeddings.
    Embed,
    /// `hook_pos_embed`: learned position embeddings.
    PosEmbed,
    /// `blocks.{layer}.{site}`.
    Block(u16, Site),
    /// `ln_final.hook_scale`.
    FinalScale,
    /// `ln_final.hook_normalized`: before gain and bias.
    FinalNormalized,
    /// `unembed.hook_in`: what the unembedding reads.
    UnembedIn,
    /// `unembed.hook_out`: logits before a final soft cap.
    UnembedOut,
}

/// A [`Place`], or a point of the SAE that is spliced in there.
///
/// ```
/// use sae_core::hook::{HookName, SaeSite, Site};
///
/// let at: HookName = "blocks.6.hook_resid_post".parse()?;
/// assert_eq!(at, HookName::block(6, Site::ResidPost));
/// assert_eq!(at.sae(SaeSite::ActsPost).to_string(), "blocks.6.hook_resid_post.hook_sae_acts_post");
///
/// let typo = "blocks.6.hook_resid_pos".parse::<HookName>().unwrap_err();
/// assert!(typo.to_string().contains("blocks.6.hook_resid_post"));
/// # Ok::<(), sae_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HookName {
    place: Place,
    sae: Option<SaeSite>,
}

impl HookName {
    /// `hook_embed`
    pub const EMBED: Self = Self::new(Place::Embed);
    /// `hook_pos_embed`
    pub const POS_EMBED: Self = Self::new(Place::PosEmbed);
    /// `ln_final.hook_scale`
    pub const FINAL_SCALE: Self = Self::new(Place::FinalScale);
    /// `ln_final.hook_normalized`
    pub const FINAL_NORMALIZED: Self = Self::new(Place::FinalNormalized);

    /// The name of a place.
    pub const fn new(place: Place) -> Self {
        Self { place, sae: None }
    }

    /// `blocks.{layer}.{site}`
    pub const fn block(layer: u16, site: Site) -> Self {
        Self::new(Place::Block(layer, site))
    }

    /// `blocks.{layer}.hook_resid_pre`
    pub const fn resid_pre(layer: u16) -> Self {
        Self::block(layer, Site::ResidPre)
    }

    /// `blocks.{layer}.hook_resid_post`
    pub const fn resid_post(layer: u16) -> Self {
        Self::block(layer, Site::ResidPost)
    }

    /// The point `site` of the SAE spliced in at this place.
    pub const fn sae(self, site: SaeSite) -> Self {
        Self { place: self.place, sae: Some(site) }
    }

    /// The place in the model, without the SAE's point.
    pub const fn place(self) -> Place {
        self.place
    }

    /// The name of the model's own place, without the SAE's point.
    pub const fn base(self) -> Self {
        Self::new(self.place)
    }

    /// The point of a spliced SAE, if this name is one.
    pub const fn sae_site(self) -> Option<SaeSite> {
        self.sae
    }

    /// The block, if the place is inside one.
    pub const fn layer(self) -> Option<u16> {
        match self.place {
            Place::Block(layer, _) => Some(layer),
            _ => None,
        }
    }

    /// The axes of the tensor found there.
    pub const fn axes(self) -> &'static [Axis] {
        use Axis::{Batch, DModel, DVocab, One, Pos};
        match (self.sae, self.place) {
            (Some(site), _) => site.axes(),
            (None, Place::Block(_, site)) => site.axes(),
            (None, Place::FinalScale) => &[Batch, Pos, One],
            (None, Place::UnembedOut) => &[Batch, Pos, DVocab],
            (None, _) => &[Batch, Pos, DModel],
        }
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Embed => f.write_str("hook_embed")?,
            Place::PosEmbed => f.write_str("hook_pos_embed")?,
            Place::Block(layer, site) => write!(f, "blocks.{layer}.{}", site.as_str())?,
            Place::FinalScale => f.write_str("ln_final.hook_scale")?,
            Place::FinalNormalized => f.write_str("ln_final.hook_normalized")?,
            Place::UnembedIn => f.write_str("unembed.hook_in")?,
            Place::UnembedOut => f.write_str("unembed.hook_out")?,
        }
        self.sae.map_or(Ok(()), |site| write!(f, ".{}", site.as_str()))
    }
}

impl FromStr for HookName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        exact(text)
            .ok_or_else(|| Error::UnknownHook { text: text.to_owned(), nearest: nearest(text) })
    }
}

fn exact(text: &str) -> Option<HookName> {
    if let Some((place, site)) = SaeSite::ALL
        .iter()
        .find_map(|site| Some((text.strip_suffix(site.as_str())?.strip_suffix('.')?, *site)))
    {
        return Some(HookName { place: exact_place(place)?, sae: Some(site) });
    }
    exact_place(text).map(HookName::new)
}

fn exact_place(text: &str) -> Option<Place> {
    Some(match text {
        "hook_embed" => Place::Embed,
        "hook_pos_embed" => Place::PosEmbed,
        "ln_final.hook_scale" => Place::FinalScale,
        "ln_final.hook_normalized" => Place::FinalNormalized,
        "unembed.hook_in" => Place::UnembedIn,
        "unembed.hook_out" => Place::UnembedOut,
        _ => {
            let (layer, site) = text.strip_prefix("blocks.")?.split_once('.')?;
            // The digits must be what we would print: no sign, no leading zero.
            let number: u16 = layer.parse().ok()?;
            if number.to_string() != layer {
                return None;
            }
            Place::Block(number, Site::ALL.iter().copied().find(|s| s.as_str() == site)?)
        }
    })
}

/// The known name that is closest in spelling, if any is close.
fn nearest(text: &str) -> Option<HookName> {
    let (text, sae) = match text.split_once(".hook_sae_") {
        Some((place, rest)) => (place, closest(rest, SaeSite::ALL, |s| &s.as_str()[9..])),
        None => (text, None),
    };
    let layer = text.strip_prefix("blocks.").and_then(|r| r.split_once('.'));
    let place = match layer {
        Some((layer, site)) => {
            Place::Block(layer.parse().ok()?, closest(site, Site::ALL, |s| s.as_str())?)
        }
        None => closest(
            text,
            &[
                Place::Embed,
                Place::PosEmbed,
                Place::FinalScale,
                Place::FinalNormalized,
                Place::UnembedIn,
                Place::UnembedOut,
            ],
            |p| match p {
                Place::Embed => "hook_embed",
                Place::PosEmbed => "hook_pos_embed",
                Place::FinalScale => "ln_final.hook_scale",
                Place::FinalNormalized => "ln_final.hook_normalized",
                Place::UnembedIn => "unembed.hook_in",
                _ => "unembed.hook_out",
            },
        )?,
    };
    Some(HookName { place, sae })
}

fn closest<T: Copy>(text: &str, all: &[T], name: impl Fn(&T) -> &'static str) -> Option<T> {
    const CLOSE_ENOUGH: f64 = 0.75;
    all.iter()
        .map(|x| (strsim::jaro_winkler(text, name(x)), *x))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(score, _)| *score >= CLOSE_ENOUGH)
        .map(|(_, x)| x)
}
