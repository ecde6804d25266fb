//! The crate against files that ggml wrote, damage, refusals, and the hostile corpus.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod bad;
mod good;
