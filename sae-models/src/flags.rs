//! Opt-in hooks: they cost memory or time, so they fire only when a flag is set.

use sae_core::hook::Site;

/// TransformerLens' opt-in switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Fire `attn.hook_result`: what each head adds, `[batch, pos, head, d_model]`.
    pub use_attn_result: bool,
    /// Fire `hook_q_input`, `hook_k_input`, `hook_v_input`: the residual stream, once per head.
    pub use_split_qkv_input: bool,
    /// Fire `hook_attn_in`: the residual stream, once per head.
    pub use_attn_in: bool,
    /// Fire `hook_mlp_in`: what the MLP's norm reads.
    pub use_hook_mlp_in: bool,
    /// Show keys and values once per head rather than once per key/value head.
    pub ungroup_grouped_query_attention: bool,
}

impl Flags {
    /// The flag that makes a site fire, and whether it is set; `None` for sites that always fire.
    pub(crate) fn of(self, site: Site) -> Option<(&'static str, bool)> {
        match site {
            Site::Result => Some(("use_attn_result", self.use_attn_result)),
            Site::QInput | Site::KInput | Site::VInput => {
                Some(("use_split_qkv_input", self.use_split_qkv_input))
            }
            Site::AttnIn => Some(("use_attn_in", self.use_attn_in)),
            Site::MlpIn => Some(("use_hook_mlp_in", self.use_hook_mlp_in)),
            _ => None,
        }
    }

    /// Whether queries, keys and values read inputs of their own.
    pub(crate) fn per_head_inputs(self) -> bool {
        self.use_split_qkv_input || self.use_attn_in
    }
}
