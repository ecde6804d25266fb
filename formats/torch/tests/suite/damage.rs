//! No prefix and no flipped bit of a good file may panic, or be answered without a place.

use std::path::PathBuf;

use torch::Options;

use crate::{files, read};

/// The work grows with the square of the length, and larger fixtures have no other records.
fn small() -> Vec<PathBuf> {
    let mut paths = files(&testing::fixtures("torch"), ".pt");
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
        let lenient = Options { skip_objects: true, ..Options::default() };
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

/// The tar of 2016 ends in blocks of zeros, which nothing needs.
#[test]
fn a_damaged_tar_is_refused_or_read_within_the_file() {
    for name in ["container", "container_pax", "container_gnu"] {
        let path = testing::fixtures("torch3").join(format!("{name}.tar"));
        let good = std::fs::read(path).unwrap();
        let end = good.iter().rposition(|&byte| byte != 0).unwrap();
        for len in 0..end {
            let error = read(&good[..len]).expect_err("cut short");
            assert!(error.offset <= len as u64, "{name}: {len}: {error}");
        }
        let refused = flipped(good, end * 8);
        assert!(refused > 15_000, "{name}: only {refused} flips were noticed");
    }
}

/// How many of the first bits are refused if they are flipped.
fn flipped(mut file: Vec<u8>, bits: usize) -> usize {
    let (mut refused, options) = (0, Options { skip_objects: true, ..Options::default() });
    for bit in 0..bits {
        file[bit / 8] ^= 1 << (bit % 8);
        match torch::read(&file, &options) {
            Ok(checkpoint) => {
                for tensor in &checkpoint.tensors {
                    let range = tensor.contiguous().unwrap_or(0..0);
                    assert!(range.end <= file.len() as u64, "bit {bit}");
                }
            }
            Err(error) => {
                assert!(error.offset <= file.len() as u64, "bit {bit}: {error}");
                refused += 1;
            }
        }
        file[bit / 8] ^= 1 << (bit % 8);
    }
    refused
}
