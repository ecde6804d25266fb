//! Damaged files: no panic, and no answer without a place.

use safetensors::{Limits, read};

use crate::good;

#[test]
fn every_prefix_is_an_error_with_a_place() {
    let mut prefixes = 0;
    for (name, bytes, _) in good() {
        for len in 0..bytes.len() {
            let error = read(&bytes[..len].to_vec(), &Limits::default()).expect_err("cut short");
            assert!(error.offset <= len as u64, "{name}, {len} bytes: {error}");
            prefixes += 1;
        }
    }
    assert!(prefixes > 3000, "{prefixes}");
}

/// A flip may give another valid file; then its tensors still lie within it, side by side.
#[test]
fn flipped_bits_do_not_harm() {
    let (mut refused, mut accepted) = (0, 0);
    for (name, bytes, file) in good() {
        let header = usize::try_from(file.data_start).unwrap();
        for bit in 0..header * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match read(&bad, &Limits::default()) {
                Ok(file) => {
                    let data: u64 = file.tensors.iter().map(|tensor| tensor.len).sum();
                    assert_eq!(file.data_start + data, bad.len() as u64, "{name}, bit {bit}");
                    accepted += 1;
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(error.offset <= bad.len() as u64, "{name}, bit {bit}: {text}");
                    assert!(!text.contains(char::is_control), "{name}, bit {bit}: {text}");
                    refused += 1;
                }
            }
        }
    }
    // Most of what is accepted are flips within names.
    assert!(refused > 2 * accepted, "{refused} refused, {accepted} accepted");
}
