//! The container held against its oracles: gguf-py, ggml, and a corpus of hostile files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod damage;
mod golden;
mod hostile;
mod plan;
mod refusals;

fn fixture(name: &str) -> Vec<u8> {
    let path = testing::fixtures("gguf").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(bytes: &[u8]) -> wire::Result<gguf::File> {
    gguf::read(&bytes.to_vec(), &gguf::Limits::default())
}
