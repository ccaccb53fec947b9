//! Files: tensors from safetensors with errors that name file and tensor, folders on disk or in
//! the binary, and writing that never leaves half a file.

mod folder;
mod json;
mod tensors;
mod write;

pub use folder::Folder;
pub use json::Fields;
pub use tensors::TensorFile;
pub use write::{write_atomic, write_tensors};
