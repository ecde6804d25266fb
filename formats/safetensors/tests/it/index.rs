//! The index of the shards, both ways.

use std::collections::BTreeMap;

use safetensors::{contained, read_index, shard_name, write_index};
use serde_json::json;

/// Python wrote the file by the line that transformers writes its own with.
#[test]
fn an_index_is_read_and_written_as_transformers_does() {
    let text = std::fs::read(testing::fixtures("safetensors/model.safetensors.index.json"));
    let text = text.unwrap();
    let index = read_index(&text).unwrap();
    assert_eq!(json!(index.metadata), json!({"total_parameters": 6, "total_size": 24}));
    let names: Vec<_> = index.weight_map.iter().map(|(tensor, _)| tensor.as_str()).collect();
    assert_eq!(names, ["a.0", "z", "模\t\"🦀\u{7f}"]);
    let weight_map: BTreeMap<_, _> = index.weight_map.into_iter().collect();
    assert_eq!(weight_map["z"], "model-00002-of-00002.safetensors");
    let written = write_index(24, 6, &weight_map);
    assert_eq!(String::from_utf8(written), String::from_utf8(text));
}

#[test]
fn an_index_of_nothing_is_still_an_index() {
    let index = read_index(&write_index(0, 0, &BTreeMap::new())).unwrap();
    assert_eq!(index.weight_map, []);
    let index = read_index(br#" {"x": [1, {"y": -2.5}, null, true], "weight_map": {}}"#).unwrap();
    assert_eq!((index.metadata.len(), index.ignored), (0, vec!["x".to_owned()]));
}

#[test]
fn faulty_indexes_are_refused_at_their_place() {
    let refused: &[(&str, u64, &str)] = &[
        ("", 0, "index (byte 0x0): EOF"),
        ("[]", 0, "expected an object"),
        ("{}", 2, "it has no weight_map"),
        ("{\"weight_map\": {}} x", 20, "trailing characters"),
        ("{\n\"weight_map\": []}", 16, "\"weight_map\" (byte 0x10)"),
        (r#"{"weight_map":{"a":1}}"#, 20, "tensor \"a\""),
        (r#"{"weight_map":{"a":"x","\u0061":"y"}}"#, 31, r#"the key "a" stands twice"#),
        (r#"{"weight_map":{},"weight_map":{}}"#, 29, r#"the key "weight_map" stands twice"#),
        (r#"{"metadata":{"a":1,"a":2},"weight_map":{}}"#, 22, r#"the key "a" stands twice"#),
        (r#"{"metadata":{"b":{"a":1,"a":2}},"weight_map":{}}"#, 27, "stands twice"),
        (r#"{"metadata":7,"weight_map":{}}"#, 13, "it must be an object"),
        (r#"{"x":1,"x":2,"weight_map":{}}"#, 10, r#"the key "x" stands twice"#),
        (r#"{"weight_map":{"a":"../b"}}"#, 26, "climbs out"),
    ];
    for &(text, offset, part) in refused {
        let error = read_index(text.as_bytes()).expect_err(text);
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert_eq!(error.offset, offset, "{text}: {error}");
    }
    let deep = format!("{{\"metadata\":{}", "{\"a\":".repeat(100_000));
    assert!(read_index(deep.as_bytes()).unwrap_err().to_string().contains("recursion limit"));
}

#[test]
fn file_names_stay_in_the_directory() {
    for name in ["model.safetensors", "shards/1 of 2.bin", "..a", "a..", "...", "~", "模"] {
        contained(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for name in [
        "",
        ".",
        "..",
        "../x",
        "a/../x",
        "a/..",
        "./x",
        "a//x",
        "a/",
        "/x",
        "//host/x",
        "\\x",
        "a\\..\\x",
        "C:x",
        "C:/x",
        "c:\\x",
        "http://h/x",
        "file:x",
        "x\0",
        "\0",
    ] {
        assert!(contained(name).is_err(), "{name:?} is let through");
    }
}

#[test]
fn shards_are_named_as_huggingface_hub_names_them() {
    assert_eq!(shard_name(1, 3), "model-00001-of-00003.safetensors");
    assert_eq!(shard_name(123_456, 123_456), "model-123456-of-123456.safetensors");
    assert_eq!(shard_name(1, 1), "model.safetensors");
}
