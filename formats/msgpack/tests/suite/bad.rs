//! Files that must be refused, with the words to refuse them by; and damage.

use crate::read;

/// Each file of `fixtures/bad/msgpack` gives the message beside it; `BLESS=1` rewrites those.
#[test]
fn refusals_say_why() {
    assert_eq!(testing::refusals("msgpack", "msgpack", |bytes| read(&bytes)), 13);
}

/// No prefix is read, and no flipped bit may panic, loop or lead outside of the file.
#[test]
fn damage_is_an_error_with_a_place() {
    for name in ["network", "chunked", "types"] {
        let good = std::fs::read(testing::fixtures(format!("flax/{name}.msgpack"))).unwrap();
        for len in 0..good.len() {
            let error = read(&good[..len].to_vec()).expect_err("cut short");
            assert!(error.offset <= len as u64, "{name}, {len} bytes: {error}");
        }
        let mut refused = 0;
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match read(&bad) {
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
