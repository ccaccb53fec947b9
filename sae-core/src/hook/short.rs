//! Short names, as `TransformerLens`' `get_act_name` and cache keys such as `cache["q", 3]` have them.

use super::{HookName, Place, Site};
use crate::{Error, Result};

impl HookName {
    /// The hook that `name` means at `layer`: `q`, `pattern`, `resid_post`, `mlp_out`, `post`, ... and,
    /// for norms, `ln1.scale`, `ln2.normalized`. Without a layer: `embed`, `pos_embed`, `scale`,
    /// `normalized` (of the final norm). A full name is taken as it is.
    ///
    /// ```
    /// use sae_core::hook::HookName;
    ///
    /// assert_eq!(HookName::short("pattern", Some(3))?.to_string(), "blocks.3.attn.hook_pattern");
    /// assert_eq!(HookName::short("ln1.scale", Some(0))?.to_string(), "blocks.0.ln1.hook_scale");
    /// # Ok::<(), sae_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// No such name, or a layer where none belongs.
    pub fn short(name: &str, layer: Option<u16>) -> Result<Self> {
        let unknown = || Error::UnknownHook { text: name.to_owned(), nearest: None };
        let Some(layer) = layer else {
            return match name {
                "embed" => Ok(Self::EMBED),
                "pos_embed" => Ok(Self::POS_EMBED),
                "scale" => Ok(Self::FINAL_SCALE),
                "normalized" => Ok(Self::FINAL_NORMALIZED),
                _ => name.parse(),
            };
        };
        let name = match name {
            "attn" => "pattern",
            "attn_logits" => "attn_scores",
            "query" => "q",
            "key" => "k",
            "value" => "v",
            "mlp_pre" => "pre",
            "mlp_mid" => "mid",
            "mlp_post" => "post",
            other => other,
        };
        // `ln1.scale` is `ln1.hook_scale`; `q` is `attn.hook_q`, `post` `mlp.hook_post`, and
        // `resid_pre` stands in the block itself.
        let full = match name.split_once('.') {
            Some((part, rest)) => vec![format!("{part}.hook_{rest}")],
            None => ["", "attn.", "mlp."].map(|part| format!("{part}hook_{name}")).to_vec(),
        };
        let site = full.iter().find_map(|text| Site::ALL.iter().find(|s| s.as_str() == text));
        site.map(|site| Self::new(Place::Block(layer, *site))).ok_or_else(unknown)
    }
}
