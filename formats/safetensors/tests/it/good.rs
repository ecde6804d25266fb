//! What the library wrote reads as the library reads it.

use safetensors::{Dtype, File, Limits, probe, read};
use serde_json::Value;
use std::fmt::Write;

use crate::{file, good};

/// The text that fixtures/make/safetensors.py makes of what the library reads.
fn dump(file: &File, bytes: &[u8]) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut metadata = file.metadata.clone();
    metadata.sort();
    let mut text = String::new();
    for (key, value) in &metadata {
        writeln!(text, "metadata {} {}", quoted(key), quoted(value)).unwrap();
    }
    let (mut empty, mut full) = (Vec::new(), String::new());
    for tensor in &file.tensors {
        let line = format!("{} {} {:?}", quoted(&tensor.name), tensor.dtype.name(), tensor.shape);
        if tensor.len == 0 {
            empty.push(format!("empty {line}\n"));
            continue;
        }
        let start = usize::try_from(tensor.offset).unwrap();
        let data = &bytes[start..start + usize::try_from(tensor.len).unwrap()];
        let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(full, "tensor {line} {hex}").unwrap();
    }
    empty.sort();
    text + &empty.concat() + &full
}

/// safetensors 0.8.0 wrote these files and said what they hold: fixtures/make/safetensors.py.
#[test]
fn files_read_as_the_library_reads_them() {
    for (name, bytes, file) in good() {
        assert!(probe(&bytes, bytes.len() as u64), "{name}");
        let golden = testing::fixtures(format!("safetensors/{name}.golden"));
        let golden = std::fs::read_to_string(golden).unwrap();
        assert_eq!(dump(&file, &bytes), golden, "{name}");
    }
}

#[test]
fn every_type_has_a_fixture() {
    let mut seen: Vec<Dtype> = Vec::new();
    for (_, _, file) in good() {
        seen.extend(file.tensors.iter().map(|tensor| tensor.dtype));
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, Dtype::ALL);
    assert_eq!(seen.len(), 22);
    for dtype in seen {
        assert_eq!(Dtype::from_name(dtype.name()), Some(dtype));
    }
}

/// A quadratic check of names or overlaps would take minutes.
#[test]
fn a_hundred_thousand_tensors_open() {
    let tensor = |i: u64| {
        let end = i + 1;
        format!(r#""model.layers.{i}.w":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{end}]}}"#)
    };
    // Backwards, so that sorting has work to do.
    let tensors: Vec<_> = (0..100_000).rev().map(tensor).collect();
    let bytes = file(&format!("{{{}}}", tensors.join(",")), 100_000);
    let opened = read(&bytes, &Limits::default()).unwrap();
    assert_eq!(opened.tensors.len(), 100_000);
    assert_eq!(opened.tensors[99_999].name, "model.layers.99999.w");
}

#[test]
fn the_limit_is_the_callers() {
    let bytes = file(r#"{"__metadata__":{"a":"b"}}"#, 0);
    let error = read(&bytes, &Limits { header: 25 }).unwrap_err();
    assert_eq!(error.class(), wire::Class::Limit);
    let text = "header (byte 0x8): found 26, expected at most 25 (safetensors-header)";
    assert_eq!(error.to_string(), text);
    read(&bytes, &Limits { header: 26 }).unwrap();
}

#[test]
fn probing_looks_at_content() {
    let sized = |head: &[u8]| probe(head, head.len() as u64);
    assert!(sized(&file("{}", 0)));
    assert!(sized(&file("{ \n\"a\"", 0)));
    assert!(sized(b"\xe8\x03\0\0\0\0\0\0{\"a\":"), "a file cut short is one still");
    assert!(!sized(b"version https://git-lfs.github.com/spec/v1\n"));
    assert!(!sized(b"{\"weight_map\": {\"a\": \"b\"}}"));
    assert!(!sized(&file("[]", 0)));
    assert!(!sized(&file("{1}", 0)));
    assert!(!sized(&[0; 100]));
    assert!(!sized(b""));
}
