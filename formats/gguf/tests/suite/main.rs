//! The container held against its oracles: gguf-py, ggml, and a corpus of hostile files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod damage;
mod golden;
mod hostile;
mod plan;
mod refusals;

use std::path::{Path, PathBuf};

/// The folder of the whole project.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn fixture(name: &str) -> Vec<u8> {
    let path = root().join("fixtures/gguf").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder with this extension, in order.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

/// Files that this project did not write; a test without them says so, and proves nothing.
fn corpus(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("REMOLD_CORPORA").map(PathBuf::from);
    let folder = shared.unwrap_or_else(|| root().join("../shared/corpora")).join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no {} (set REMOLD_CORPORA)", folder.display());
    None
}

fn read(bytes: &[u8]) -> wire::Result<gguf::File> {
    gguf::read(&bytes.to_vec(), &gguf::Limits::default())
}
