//! No prefix and no flipped bit of a good file may panic, or be answered without a place.

use std::path::PathBuf;

use torch::Options;

use crate::{files, fixtures, read};

/// The work grows with the square of the length, and larger fixtures have no other records.
fn small() -> Vec<PathBuf> {
    let mut paths = files(&fixtures("torch"), ".pt");
    paths.retain(|path| path.metadata().unwrap().len() < 5000);
    paths
}

#[test]
fn every_prefix_is_refused() {
    let paths = small();
    for path in &paths {
        let good = std::fs::read(path).unwrap();
        for len in 0..good.len() {
            let error = read(&good[..len]).expect_err("cut short");
            assert!(error.offset <= len as u64, "{}: {len}: {error}", path.display());
            torch::probe(&good[..len.min(512)], &good[..len].to_vec());
        }
    }
    assert_eq!(paths.len(), 5);
}

#[test]
fn every_flipped_bit_is_survived() {
    let paths = small();
    for path in &paths {
        let good = std::fs::read(path).unwrap();
        let mut bad = good.clone();
        let lenient = Options { skip_objects: true };
        for bit in 0..good.len() * 8 {
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(checkpoint) = torch::read(&bad, &lenient) {
                for tensor in &checkpoint.tensors {
                    let range = tensor.contiguous().unwrap_or(0..0);
                    assert!(range.end <= bad.len() as u64, "{}: bit {bit}", path.display());
                }
            }
            bad[bit / 8] ^= 1 << (bit % 8);
        }
        assert_eq!(good, bad);
    }
    assert_eq!(paths.len(), 5);
}
