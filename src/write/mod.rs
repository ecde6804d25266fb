//! Model → layout → bytes. A layout says what lies where; one executor writes every format.

pub mod edits;
pub mod execute;
pub mod gguf;
pub mod json;
pub mod layout;
pub mod options;
pub mod progress;
pub mod safetensors;
pub mod tokenizer_gguf;

pub use edits::Edits;
pub use execute::{ExecuteOptions, execute};
pub use layout::{FilePlan, Layout, Part};
pub use options::{Split, WriteOptions};
pub use progress::{Bar, Progress, Silent};
