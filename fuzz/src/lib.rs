//! The targets, for cargo-fuzz.

pub mod targets;
