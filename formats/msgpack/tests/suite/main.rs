//! The crate against Flax's own files, damage, and refusals.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, reason = "tests")]
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

mod bad;
mod good;

use std::path::{Path, PathBuf};

/// The fixtures.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

/// The files of a folder with this extension, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "msgpack"));
    files.sort();
    files
}
