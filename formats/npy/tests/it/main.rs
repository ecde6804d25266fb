//! The crate against numpy's own files, damage, refusals, and the hostile corpus.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod bad;
mod good;

fn read(bytes: &[u8]) -> wire::Result<npy::Array> {
    npy::read(&bytes, &npy::Limits::default())
}
