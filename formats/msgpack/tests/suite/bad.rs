//! Files that must be refused, with the words to refuse them by; and damage.

use crate::{files, fixtures};

/// Each file of `fixtures/bad/msgpack` gives the message beside it; `BLESS=1` rewrites those.
#[test]
fn refusals_say_why() {
    let files = files(&fixtures().join("bad/msgpack"));
    assert_eq!(files.len(), 13);
    for file in files {
        let error = msgpack::read(&std::fs::read(&file).unwrap()).expect_err("must be refused");
        let beside = file.with_extension("message");
        let message = format!("{:?}: {error}\n", error.class());
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&beside, &message).unwrap();
        }
        assert_eq!(message, std::fs::read_to_string(&beside).unwrap(), "{}", file.display());
    }
}

/// No prefix is read, and no flipped bit may panic, loop or lead outside of the file.
#[test]
fn damage_is_an_error_with_a_place() {
    for name in ["network", "chunked", "types"] {
        let good = std::fs::read(fixtures().join(format!("flax/{name}.msgpack"))).unwrap();
        for len in 0..good.len() {
            let error = msgpack::read(&good[..len].to_vec()).expect_err("cut short");
            assert!(error.offset <= len as u64, "{name}, {len} bytes: {error}");
        }
        let mut refused = 0;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match msgpack::read(&bad) {
                Err(error) => {
                    assert!(error.offset <= bad.len() as u64, "{name}, bit {bit}: {error}");
                    refused += 1;
                }
                Ok(tree) => {
                    let pieces = tree.arrays.iter().flat_map(|array| &array.pieces);
                    assert!(pieces.clone().all(|piece| piece.end <= bad.len() as u64));
                }
            }
        }
        assert!(refused > 500, "{name}: only {refused} flips were noticed");
    }
}
