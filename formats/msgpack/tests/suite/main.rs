//! The crate against Flax's own files, damage, and refusals.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, reason = "tests")]
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

mod bad;
mod good;

fn read(bytes: &impl wire::ReadAt) -> wire::Result<msgpack::Tree> {
    msgpack::read(bytes, &msgpack::Limits::default())
}
