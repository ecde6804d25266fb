//! Held against llama.cpp, to the byte; and against texts that a person has read.

use std::collections::BTreeMap;

use remold::store::Digest;

use crate::conversion::TYPES;
use crate::edit::Gguf;
use crate::program::{Dir, fixture, json, remold, tiny};

/// Every tensor is what `llama_model_quantize` makes of it: its type, and each of its bytes.
#[test]
fn tensors_are_those_of_llama_cpp() {
    let dir = Dir::new();
    let golden = json(fixture("tiny-llama/quantized.json"));
    assert_eq!(golden.as_object().map(serde_json::Map::len), Some(TYPES.len()));
    for kind in TYPES {
        let made = Gguf::read(&dir.converted(&tiny(), &format!("{kind}.gguf"), kind));
        let digests = made
            .tensors
            .iter()
            .map(|t| (&*t.name, (&*t.kind, Digest::of([&*t.bytes]).to_string())));
        let digests: BTreeMap<&str, (&str, String)> = digests.collect();
        let expected = golden[kind].as_object().expect("tensors");
        assert_eq!((digests.len(), expected.len()), (30, 30));
        for (name, entry) in expected {
            let (theirs, digest) = (entry[0].as_str().expect("a type"), &entry[1]);
            let (ours, bytes) = &digests[name.as_str()];
            assert_eq!(*ours, theirs, "{kind}: type of {name}");
            assert_eq!(digest, bytes, "{kind}: bytes of {name}");
        }
    }
}

#[test]
fn the_dump_reads_as_it_should() {
    let dir = Dir::new();
    check("hub", &remold!("inspect", tiny(), "--dump").ends(0).stdout);
    let gguf = dir.converted(&tiny(), "tiny.gguf", "q4_0");
    check("q4_0", &remold!("inspect", gguf, "--dump").ends(0).stdout);
}

/// Compares with the golden text; `BLESS=1` writes it.
fn check(name: &str, found: &str) {
    let path = tiny().join(format!("{name}.dump"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, found).expect("written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{}: not as blessed\n{found}", path.display());
}
