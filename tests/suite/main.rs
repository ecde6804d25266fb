//! The integration tests, as one binary.

mod direction;
mod gguf;
mod torch;
