//! No prefix and no flipped bit of a good file may panic; of a table, each is refused.

use tensorflow::{Limits, Options, read, read_graph, read_saved_model};

use crate::bytes;

const TABLES: [&str; 3] = ["types.ckpt.index", "snappy.ckpt.index", "partitioned.ckpt.index"];

#[test]
fn every_prefix_of_a_table_is_refused() {
    for name in TABLES {
        let good = bytes(name);
        for len in 0..good.len() {
            assert!(read(&good[..len].to_vec(), &Options::default()).is_err(), "{name}: {len}");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_table_is_refused() {
    for name in TABLES.into_iter().chain(["first.ckpt"]) {
        let mut bad = bytes(name);
        for bit in 0..bad.len() * 8 {
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                read(&bad, &Options { checksums: true, ..tensorflow::Options::default() }).is_err(),
                "{name}: bit {bit}"
            );
            bad[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn messages_survive_prefixes_and_flipped_bits() {
    let mut refused = 0;
    let models = [
        (
            "network/saved_model.pb",
            (|bytes| read_saved_model(&bytes, &Limits::default()).is_err()) as fn(Vec<u8>) -> bool,
        ),
        ("network.pb", |bytes| read_graph(&bytes, &Limits::default()).is_err()),
    ];
    for (name, fails) in models {
        let good = bytes(name);
        let step = good.len() / 1000;
        for len in (0..good.len()).step_by(step) {
            refused += usize::from(fails(good[..len].to_vec()));
        }
        for bit in (0..good.len() * 8).step_by(good.len() * 8 / 2000) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            refused += usize::from(fails(bad));
        }
    }
    assert!(refused > 2000, "only {refused} were refused");
}
