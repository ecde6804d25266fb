//! The integration tests, as one binary.

mod direction;
mod torch;
