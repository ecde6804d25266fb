//! The crate against files that ggml wrote, damage, refusals, and the hostile corpus.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod bad;
mod good;

use std::path::{Path, PathBuf};

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The models of a folder, sorted.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "bin"));
    files.sort();
    files
}
