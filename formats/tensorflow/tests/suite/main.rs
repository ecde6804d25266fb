//! One test binary: tensors against TensorFlow's, refusals with their messages, damage.

mod damage;
mod golden;
mod plan;
mod refusals;

use std::path::{Path, PathBuf};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(folder)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixtures("tensorflow").join(name)).unwrap()
}

/// Everything is held to its checksum.
fn read(name: &str) -> tensorflow::Checkpoint {
    tensorflow::read(
        &bytes(name),
        &tensorflow::Options { checksums: true, ..tensorflow::Options::default() },
    )
    .unwrap()
}
