//! The crate against the library's own files, damage, refusals, and the hostile corpus.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod bad;
mod damage;
mod good;
mod hostile;
mod index;
mod plan;

use std::path::PathBuf;

use safetensors::{File, Limits};

/// The good fixtures: name, bytes, and what they hold.
fn good() -> Vec<(String, Vec<u8>, File)> {
    let files = testing::files(testing::fixtures("safetensors"), "safetensors");
    assert_eq!(files.len(), 10);
    let read = |file: PathBuf| {
        let bytes = std::fs::read(&file).unwrap();
        let opened = safetensors::read(&bytes, &Limits::default());
        let opened = opened.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (file.file_stem().unwrap().to_string_lossy().into_owned(), bytes, opened)
    };
    files.into_iter().map(read).collect()
}

/// A file with this header, unpadded, and so many bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}
