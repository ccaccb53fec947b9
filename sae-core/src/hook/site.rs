//! The table of places inside a transformer block: variant, text, axes.

/// One axis of an activation tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Axis {
    /// Prompts in the batch.
    Batch,
    /// Query positions.
    Pos,
    /// Key positions; with a key/value cache there are more of them than query positions.
    KeyPos,
    /// Attention heads.
    Head,
    /// Key/value heads (fewer than heads under grouped-query attention).
    KvHead,
    /// Width of the residual stream.
    DModel,
    /// Width of one head.
    DHead,
    /// Width of the MLP.
    DMlp,
    /// Entries of the vocabulary.
    DVocab,
    /// Latents of an SAE.
    DSae,
    /// Width of an SAE's input, heads flattened.
    DIn,
    /// Width of an SAE's output, heads flattened.
    DOut,
    /// Batch, position and head flattened into rows.
    Rows,
    /// A single number.
    One,
}

macro_rules! table {
    ($(#[$meta:meta])* $name:ident { $( $(#[$doc:meta])* $variant:ident = $text:literal [$($axis:ident),*]; )* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $name { $( $(#[$doc])* #[doc = concat!("\n\n`", $text, "`")] $variant ),* }

        impl $name {
            /// Every entry, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The text of the name, as TransformerLens and SAELens write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The axes of the tensor found there.
            pub const fn axes(self) -> &'static [Axis] {
                match self { $(Self::$variant => &[$(Axis::$axis),*]),* }
            }
        }
    };
}

table! {
    /// A place inside a transformer block, in the order in which a forward pass meets them.
    Site {
        /// Residual stream entering the block.
        ResidPre = "hook_resid_pre" [Batch, Pos, DModel];
        /// Copies of `resid_pre` per head; opt-in (`use_attn_in`).
        AttnIn = "hook_attn_in" [Batch, Pos, Head, DModel];
        /// Copies of `resid_pre` read by the queries; opt-in (`use_split_qkv_input`).
        QInput = "hook_q_input" [Batch, Pos, Head, DModel];
        /// Copies of `resid_pre` read by the keys; opt-in (`use_split_qkv_input`).
        KInput = "hook_k_input" [Batch, Pos, KvHead, DModel];
        /// Copies of `resid_pre` read by the values; opt-in (`use_split_qkv_input`).
        VInput = "hook_v_input" [Batch, Pos, KvHead, DModel];
        /// Standard deviation (LayerNorm) or root mean square (RMSNorm) of the attention input.
        Ln1Scale = "ln1.hook_scale" [Batch, Pos, One];
        /// Attention input divided by its scale, before gain and bias.
        Ln1Normalized = "ln1.hook_normalized" [Batch, Pos, DModel];
        /// Attention input after gain and bias.
        AttnHookIn = "attn.hook_in" [Batch, Pos, DModel];
        /// Queries with bias, before any rotation.
        Q = "attn.hook_q" [Batch, Pos, Head, DHead];
        /// Keys with bias, before any rotation; with a cache, the new positions only.
        K = "attn.hook_k" [Batch, Pos, KvHead, DHead];
        /// Values with bias; with a cache, the new positions only.
        V = "attn.hook_v" [Batch, Pos, KvHead, DHead];
        /// Root mean square of each head of q.
        QNormScale = "attn.q_norm.hook_scale" [Rows, One];
        /// Each head of q divided by its root mean square, before the gain.
        QNormNormalized = "attn.q_norm.hook_normalized" [Rows, DHead];
        /// Root mean square of each head of k.
        KNormScale = "attn.k_norm.hook_scale" [Rows, One];
        /// Each head of k divided by its root mean square, before the gain.
        KNormNormalized = "attn.k_norm.hook_normalized" [Rows, DHead];
        /// Rotated queries.
        RotQ = "attn.hook_rot_q" [Batch, Pos, Head, DHead];
        /// Rotated keys, cached ones included.
        RotK = "attn.hook_rot_k" [Batch, KeyPos, KvHead, DHead];
        /// Scores, scaled, soft-capped and masked (minus infinity where masked).
        AttnScores = "attn.hook_attn_scores" [Batch, Head, Pos, KeyPos];
        /// Softmax of the scores; a row that sees nothing is all zero.
        Pattern = "attn.hook_pattern" [Batch, Head, Pos, KeyPos];
        /// Pattern times values.
        Z = "attn.hook_z" [Batch, Pos, Head, DHead];
        /// Contribution of each head, without `b_O`; opt-in (`use_attn_result`).
        Result = "attn.hook_result" [Batch, Pos, Head, DModel];
        /// Attention output before a post-norm.
        AttnHookOut = "attn.hook_out" [Batch, Pos, DModel];
        /// Root mean square of the attention output (Gemma 2 and 3).
        Ln1PostScale = "ln1_post.hook_scale" [Batch, Pos, One];
        /// Attention output divided by its scale, before the gain.
        Ln1PostNormalized = "ln1_post.hook_normalized" [Batch, Pos, DModel];
        /// What attention adds to the residual stream.
        AttnOut = "hook_attn_out" [Batch, Pos, DModel];
        /// Residual stream between attention and MLP; absent in parallel blocks.
        ResidMid = "hook_resid_mid" [Batch, Pos, DModel];
        /// Copy of what the MLP's norm reads; opt-in (`use_hook_mlp_in`).
        MlpIn = "hook_mlp_in" [Batch, Pos, DModel];
        /// Scale of the MLP's norm.
        Ln2Scale = "ln2.hook_scale" [Batch, Pos, One];
        /// MLP input divided by its scale, before gain and bias.
        Ln2Normalized = "ln2.hook_normalized" [Batch, Pos, DModel];
        /// MLP input after gain and bias (SAELens adds this point).
        MlpHookIn = "mlp.hook_in" [Batch, Pos, DModel];
        /// What the activation function reads; the gate branch when gated.
        MlpPre = "mlp.hook_pre" [Batch, Pos, DMlp];
        /// The linear branch of a gated MLP.
        MlpPreLinear = "mlp.hook_pre_linear" [Batch, Pos, DMlp];
        /// After SoLU, before its norm.
        MlpMid = "mlp.hook_mid" [Batch, Pos, DMlp];
        /// Scale of the norm inside a SoLU MLP.
        MlpLnScale = "mlp.ln.hook_scale" [Batch, Pos, One];
        /// Normalised SoLU output.
        MlpLnNormalized = "mlp.ln.hook_normalized" [Batch, Pos, DMlp];
        /// What `W_out` reads.
        MlpPost = "mlp.hook_post" [Batch, Pos, DMlp];
        /// MLP output before a post-norm.
        MlpHookOut = "mlp.hook_out" [Batch, Pos, DModel];
        /// Root mean square of the MLP output (Gemma 2 and 3).
        Ln2PostScale = "ln2_post.hook_scale" [Batch, Pos, One];
        /// MLP output divided by its scale, before the gain.
        Ln2PostNormalized = "ln2_post.hook_normalized" [Batch, Pos, DModel];
        /// What the MLP adds to the residual stream.
        MlpOut = "hook_mlp_out" [Batch, Pos, DModel];
        /// Residual stream leaving the block.
        ResidPost = "hook_resid_post" [Batch, Pos, DModel];
    }
}

table! {
    /// A point inside a spliced SAE, in the order in which they fire (SAELens, `saes/sae.py`).
    SaeSite {
        /// The activation as the SAE was given it, heads flattened, not yet normalised or centred.
        Input = "hook_sae_input" [Batch, Pos, DIn];
        /// Pre-activations; of the magnitude path in a gated SAE.
        ActsPre = "hook_sae_acts_pre" [Batch, Pos, DSae];
        /// Latent activations.
        ActsPost = "hook_sae_acts_post" [Batch, Pos, DSae];
        /// `acts_post W_dec + b_dec`, heads flattened, still in the SAE's normalised space.
        Recons = "hook_sae_recons" [Batch, Pos, DOut];
        /// Original minus clean reconstruction; only with the error term.
        Error = "hook_sae_error" [Batch, Pos, DOut];
        /// What takes the place of the activation.
        Output = "hook_sae_output" [Batch, Pos, DOut];
    }
}
