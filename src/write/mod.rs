//! Model → layout → bytes. A layout says what lies where; one executor writes every format.

pub mod edits;
pub mod execute;
pub mod flax;
pub mod gguf;
pub mod hdf5;
mod hub;
pub mod imatrix;
pub mod json;
pub mod keras;
mod layout;
pub mod npy;
pub mod npz;
pub mod onnx;
pub mod options;
pub mod progress;
pub mod safetensors;
mod sums;
pub mod tensorflow;
pub mod tokenizer_gguf;
pub mod tokenizer_json;
pub mod torch;

pub use edits::Edits;
pub use execute::{ExecuteOptions, execute};
pub use layout::{Checksum, FilePlan, Layout, Part};
pub use options::{Split, WriteOptions};
pub use progress::{Bar, Progress, Silent, Unit};
