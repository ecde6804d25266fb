//! Cut and flipped files: an error with a place, or a result that holds; never a panic.

use crate::{fixture, read};

const FILES: [&str; 9] = [
    "pair.gguf",
    "scalars.gguf",
    "arrays.gguf",
    "tensors.gguf",
    "align64.gguf",
    "v1.gguf",
    "big.gguf",
    "zero_size.gguf",
    "no_tensors.gguf",
];

/// The end of the last tensor, or of the header: the only place but the end at which a file may
/// stop.
fn unpadded_end(bytes: &[u8]) -> usize {
    let file = read(bytes).unwrap();
    let data = file.tensors.iter().map(|info| info.offset + info.len).max();
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    data.map_or(bytes.len() - zeros, |end| end as usize)
}

#[test]
fn every_prefix_is_refused_but_the_one_without_padding() {
    for name in FILES {
        let bytes = fixture(name);
        let whole = [unpadded_end(&bytes), bytes.len()];
        for len in 0..=bytes.len() {
            let result = read(&bytes[..len]);
            assert_eq!(result.is_ok(), whole.contains(&len), "{name} cut at {len}: {result:?}");
            if let Err(error) = result {
                assert!(error.offset <= bytes.len() as u64 && !error.what.is_empty(), "{error}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_leaves_a_file_that_holds() {
    let (mut refused, mut accepted) = (0, 0);
    for name in FILES {
        let good = fixture(name);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match read(&bytes) {
                Err(error) => {
                    refused += 1;
                    let inside = error.offset <= bytes.len() as u64;
                    assert!(inside && !error.what.is_empty(), "{name} bit {bit}: {error}");
                }
                Ok(file) => {
                    accepted += 1;
                    let size = bytes.len() as u64;
                    let holds = |info: &gguf::TensorInfo| info.offset + info.len <= size;
                    assert!(file.tensors.iter().all(holds), "{name} bit {bit}");
                }
            }
        }
    }
    assert!(refused > 10_000 && accepted > 10_000, "{refused} refused, {accepted} accepted");
}

/// A flip in what decides about places is always noticed.
#[test]
fn flips_in_counts_and_offsets_are_refused() {
    let good = fixture("pair.gguf");
    let info = good.windows(9).position(|bytes| bytes == b"\x01\0\0\0\0\0\0\0b").unwrap();
    let fields = [0..4, 8..24, info..info + 8, info + 9..info + 13, info + 33..info + 41];
    for bit in fields.into_iter().flatten().flat_map(|byte| byte * 8..byte * 8 + 8) {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit}");
    }
}
