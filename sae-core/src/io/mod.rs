//! Files: tensors from safetensors, numpy and torch files with errors that name file and tensor,
//! folders on disk or in the binary, and writing that never leaves half a file.

mod archive;
mod element;
mod floats;
mod folder;
mod json;
mod named;
mod numpy;
mod problem;
mod tensors;
mod torch;
mod view;
mod write;

pub use floats::{Floats, WeightDtype};
pub use folder::Folder;
pub use json::Fields;
pub use named::{NamedTensors, open_tensors};
pub use numpy::NumpyFile;
pub use tensors::TensorFile;
pub use torch::TorchFile;
pub use write::{write_atomic, write_tensors};
