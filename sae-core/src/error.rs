//! What can go wrong.

use std::path::PathBuf;

use crate::hook::{Axis, HookName};

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in the shared vocabulary, in SAE mathematics and in SAE files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that names no hook.
    #[error("`{text}`: no such hook{}", hint(nearest.as_ref()))]
    UnknownHook {
        /// What was written.
        text: String,
        /// The closest name there is.
        nearest: Option<HookName>,
    },
    /// A hook that exists elsewhere, but never fires in this model.
    #[error("`{at}`: model `{model}` has no such hook{}", hint(nearest.as_ref()))]
    NoSuchPlace {
        /// The hook.
        at: HookName,
        /// The model.
        model: String,
        /// A hook of the model that may have been meant.
        nearest: Option<HookName>,
    },
    /// A hook of a block that the model does not have.
    #[error("`{at}`: model `{model}` has {n_layers} layers, the last is {}", n_layers.saturating_sub(1))]
    PlaceBeyondLayers {
        /// The hook.
        at: HookName,
        /// The model.
        model: String,
        /// How many blocks it has.
        n_layers: u16,
    },
    /// A hook that fires only when asked for.
    #[error("`{at}` does not fire unless the model is given the flag `{flag}`")]
    NeedsOptIn {
        /// The hook.
        at: HookName,
        /// The flag to set.
        flag: &'static str,
    },
    /// An opt-in that the model cannot honour.
    #[error("flag `{flag}`: not possible with {why}")]
    FlagImpossible {
        /// The flag.
        flag: &'static str,
        /// What stands against it.
        why: &'static str,
    },
    /// A point of an SAE, where none is spliced in.
    #[error("`{at}`: no SAE is spliced in at `{}`, or it does not fire this point", at.base())]
    NoSaeThere {
        /// The point.
        at: HookName,
    },
    /// A layer to start or stop at that the model does not have.
    #[error("layer {layer}: outside the model's 0..={n_layers} (negative counts from the end)")]
    LayerOutOfRange {
        /// The layer.
        layer: i32,
        /// How many blocks the model has.
        n_layers: u16,
    },
    /// An SAE in a place of another width.
    #[error("`{at}` is {got} wide, but the SAE reads {want}")]
    WidthMismatch {
        /// The place.
        at: HookName,
        /// Its width per position, heads flattened.
        got: usize,
        /// The SAE's `d_in`.
        want: usize,
    },
    /// Rows of another width than the SAE's.
    #[error("{what} is {got:?}, expected {want} in the last axis")]
    WrongWidth {
        /// What was passed.
        what: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The width of its last axis.
        want: usize,
    },
    /// An SAE in a place that has no width per position.
    #[error("`{at}` has no features per position, so no SAE can stand there")]
    NotPerPosition {
        /// The place.
        at: HookName,
    },
    /// An SAE of which nobody knows where it belongs.
    #[error("the SAE's cfg.json names no hook (`metadata.hook_name`), so its place must be given")]
    NoHook,
    /// Two SAEs in one place.
    #[error("`{at}`: two SAEs for one hook")]
    TwoSaes {
        /// The place.
        at: HookName,
    },
    /// A latent that the SAE does not have.
    #[error("feature {feature}: the SAE has {d_sae}, the last is {}", d_sae.saturating_sub(1))]
    FeatureOutOfRange {
        /// The latent.
        feature: usize,
        /// How many there are.
        d_sae: usize,
    },
    /// Tokens to leave as they are, in a run that knows no tokens.
    #[error("`{at}`: tokens to exclude were named, but the run did not begin from tokens")]
    TokensUnknown {
        /// The place of the SAE.
        at: HookName,
    },
    /// An edit that returned another shape.
    #[error("the edit at `{at}` returned {got:?}, expected {want:?}")]
    EditChangedShape {
        /// The place.
        at: HookName,
        /// The shape it returned.
        got: Vec<usize>,
        /// The shape it was given.
        want: Vec<usize>,
    },
    /// An axis that the activation does not have.
    #[error("`{at}` has no {axis:?} axis")]
    NoSuchAxis {
        /// The place.
        at: HookName,
        /// The axis.
        axis: Axis,
    },
    /// An index beyond an axis.
    #[error("index {index}: outside 0..{len} of the {axis:?} axis of `{at}`")]
    IndexOutOfRange {
        /// The place.
        at: HookName,
        /// The axis.
        axis: Axis,
        /// The index.
        index: usize,
        /// The length of the axis.
        len: usize,
    },
    /// A position beyond the prompt.
    #[error("position {position}: outside the {n_positions} positions of the prompt")]
    PositionOutOfRange {
        /// The position, negative from the end.
        position: isize,
        /// How many there are.
        n_positions: usize,
    },
    /// A slice that does not move.
    #[error("a slice's step is 0")]
    ZeroStep,
    /// Nothing to run.
    #[error("the prompt is empty: a run needs at least one token")]
    EmptyPrompt,
    /// More positions than the model was made for.
    #[error("{n_positions} tokens: the model's context holds {n_ctx}")]
    PromptTooLong {
        /// The prompt's length, cached positions included.
        n_positions: usize,
        /// The context length.
        n_ctx: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("token {token}: the vocabulary has {d_vocab}, the last is {}", d_vocab.saturating_sub(1))]
    TokenOutOfRange {
        /// The token.
        token: u32,
        /// How many there are.
        d_vocab: usize,
    },
    /// A tensor of the wrong shape was passed.
    #[error("{what} is {got:?}, expected {want}")]
    InputShape {
        /// What was passed.
        what: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that is right.
        want: String,
    },
    /// Logits were not asked for.
    #[error("the plan did not ask for logits")]
    NoLogits,
    /// An activation was not captured.
    #[error("`{at}` was not captured by this run")]
    NotCaptured {
        /// The place.
        at: HookName,
    },
    /// A gradient was not asked for.
    #[error("`{at}` was not tapped in this run")]
    NotTapped {
        /// The place.
        at: HookName,
    },
    /// More than one prompt where one is needed.
    #[error("`{at}` holds {batch} prompts: the batch axis can be dropped only when there is one")]
    BatchNotOne {
        /// The place.
        at: HookName,
        /// How many prompts.
        batch: usize,
    },
    /// An edit that reads a place which does not come before it.
    #[error("`{at}` was not met yet: an edit that reads it must stand at a later place")]
    NotSeenYet {
        /// The place.
        at: HookName,
    },
    /// A normalisation that SAEs of an architecture cannot have.
    #[error("normalisation `{mode}`: not possible for SAEs of architecture `{architecture}`")]
    NormalizeMisfit {
        /// The normalisation.
        mode: &'static str,
        /// The architecture.
        architecture: &'static str,
    },
    /// An operation that this SAE does not admit.
    #[error("{op}: not possible for {why}")]
    NotFoldable {
        /// The operation.
        op: &'static str,
        /// What stands against it.
        why: &'static str,
    },
    /// A tensor whose strides lead out of its storage.
    #[error("a tensor's layout points outside its storage")]
    LayoutOutside,
    /// Sparse codes whose parts contradict each other.
    #[error("sparse codes: {problem}")]
    BadCodes {
        /// The contradiction.
        problem: &'static str,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: {problem}", path = path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A pickle that may run code.
    #[error("{path}: refused: its pickle uses {what}, and only what builds tensors is read", path = path.display())]
    PickledCode {
        /// The file.
        path: PathBuf,
        /// The instruction, or the global that it names.
        what: String,
    },
    /// A file in which something is larger than is read.
    #[error("{path}: {what}: {got}, at most {limit}", path = path.display())]
    BeyondLimit {
        /// The file.
        path: PathBuf,
        /// What is too large.
        what: &'static str,
        /// How large it is, as far as it was read.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// A configuration field that is missing or of the wrong type.
    #[error("{path}: field `{field}` is {got}, expected {want}", path = path.display())]
    ConfigField {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What it holds.
        got: String,
        /// What it should hold.
        want: String,
    },
    /// A tensor that the file lacks.
    #[error("{path}: no tensor `{name}`, expected {want:?}", path = path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that is right, empty when any will do.
        want: Vec<usize>,
    },
    /// A tensor of the wrong shape in a file.
    #[error("{path}: tensor `{name}` is {got:?}, expected {want:?}", path = path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        got: Vec<usize>,
        /// The shape that is right.
        want: Vec<usize>,
    },
    /// A tensor of a type that is not read.
    #[error("{path}: tensor `{name}` is {got}, expected {want}", path = path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        got: String,
        /// The types that are read.
        want: &'static str,
    },
    /// A source of activations failed, for a reason of its own.
    #[error(transparent)]
    Source(Box<dyn std::error::Error + Send + Sync>),
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Tensor(Box<candle_core::Error>),
}

fn hint(nearest: Option<&HookName>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

impl From<candle_core::Error> for Error {
    fn from(source: candle_core::Error) -> Self {
        Self::Tensor(Box::new(source))
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Tensor(inner) => *inner,
            other => Self::wrap(other),
        }
    }
}
