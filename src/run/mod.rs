//! Running what was read: text to tokens and back.

pub mod tokens;
